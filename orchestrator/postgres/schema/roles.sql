-- Roles and the schema. Every statement may be repeated. Roles belong to the whole server, so another database may
-- have made them already. Nobody logs in as these roles at first: grant them to login roles, or give them LOGIN.
DO $$
DECLARE
  missing text;
BEGIN
  FOR missing IN
    SELECT name FROM unnest(ARRAY['orchestrator_owner', 'orchestrator_worker', 'orchestrator_operator', 'orchestrator_viewer']) AS name
      WHERE to_regrole(name) IS NULL
  LOOP
    BEGIN
      EXECUTE format('CREATE ROLE %I NOLOGIN', missing);
    EXCEPTION WHEN duplicate_object OR unique_violation THEN
      NULL;  -- made by another database of this server in the meantime
    END;
  END LOOP;
  -- From PostgreSQL 16 on, the maker of a role is a member without the right to SET ROLE.
  IF NOT pg_has_role(current_user, 'orchestrator_owner',
      CASE WHEN current_setting('server_version_num')::int >= 160000 THEN 'SET' ELSE 'MEMBER' END) THEN
    EXECUTE format('GRANT orchestrator_owner TO %I', current_user);
  END IF;
END $$;
CREATE SCHEMA IF NOT EXISTS orchestrator AUTHORIZATION orchestrator_owner;
