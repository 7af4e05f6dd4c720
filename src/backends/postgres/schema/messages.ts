import { MESSAGE_BOXES } from './messages-boxes.ts';
import { MESSAGE_ENDING } from './messages-ending.ts';
import { MESSAGE_MEMBERSHIP } from './messages-membership.ts';
import { MESSAGE_PUBLISHING } from './messages-publishing.ts';
import { MESSAGE_RECEIVING } from './messages-receiving.ts';
import { MESSAGE_SETTLING } from './messages-settling.ts';
import { MESSAGE_SWEEPING } from './messages-sweeping.ts';
import { MESSAGE_TABLES } from './messages-tables.ts';

/** Mailboxes, letters, members; see {@link MESSAGE_TABLES} for how they are laid out. */
export const MESSAGES_SCHEMA: string = [
  MESSAGE_TABLES,
  MESSAGE_BOXES,
  MESSAGE_ENDING,
  MESSAGE_PUBLISHING,
  MESSAGE_RECEIVING,
  MESSAGE_SETTLING,
  MESSAGE_MEMBERSHIP,
  MESSAGE_SWEEPING,
].join('\n');
