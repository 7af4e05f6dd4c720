import { describePulse } from '../support/pulse-suite.ts';

describePulse('postgres');
