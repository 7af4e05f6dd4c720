import { PINNED } from './pinned.ts';

/** What the sessions ask of the tasks. */
export const TASK_HOOKS: string = /* sql */ `
-- Unstarted claims of a session that closes go back, their attempt uncounted; what is started may be taken over at once.
create function agentmesh.task_session_closed_v1(p_session bigint) returns void language plpgsql
${PINNED} as $$
declare
  v_seqs bigint[];
begin
  delete from agentmesh.task_taken k where k.session = p_session;
  v_seqs := array(
    select t.seq from agentmesh.tasks t where t.state = 3 and t.session = p_session and not t.started order by t.seq + 0 for update);
  if cardinality(v_seqs) > 0 then
    perform agentmesh.task_give_back_v1(agentmesh.now_us(), v_seqs, array_fill(0::double precision, array[cardinality(v_seqs)]),
      array_fill('SESSION_CLOSED'::text, array[cardinality(v_seqs)]), array_fill(true, array[cardinality(v_seqs)]), null);
  end if;
end $$;

-- What a live session has to hear of its claims.
create function agentmesh.task_orders_v1(p_session bigint) returns setof text language sql stable as $$
  select json_build_object('kind', 'cancel', 'task', b.id, 'token', t.token, 'reason', t.cancelling)::text
  from agentmesh.tasks t join agentmesh.task_bodies b on b.seq = any(array[t.seq])
  where t.session = p_session and t.cancelling is not null
  union all
  select json_build_object('kind', 'taken', 'task', k.id, 'token', k.token)::text
  from agentmesh.task_taken k where k.session = p_session
$$;
`;
