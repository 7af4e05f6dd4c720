/** The newest token that was seen at each resource, in the transactions of those who write under a lock. */
export const LOCK_FENCES: string = /* sql */ `
create table agentmesh.fences (
  resource text collate "C" primary key,
  token bigint not null,
  seen_at bigint not null
) with (fillfactor = 70);

-- To be called in the transaction of the write, before it. Keeps the row until that has ended, so writes under two tokens never mix.
create function agentmesh.fence_v1(resource text, token bigint) returns void language plpgsql as $$
#variable_conflict use_column
declare
  v_seen bigint;
begin
  insert into agentmesh.fences as f (resource, token, seen_at)
  values (fence_v1.resource, fence_v1.token, agentmesh.now_us())
  on conflict (resource) do update set token = excluded.token, seen_at = excluded.seen_at where f.token <= excluded.token;
  if not found then
    select f.token into v_seen from agentmesh.fences f where f.resource = fence_v1.resource;
    raise exception 'A write to % with token % was refused: token % was seen', fence_v1.resource, fence_v1.token, v_seen
      using errcode = 'AM004', hint = 'The lock was lost. Acquire it again and repeat the work with the new token.';
  end if;
end $$;
`;
