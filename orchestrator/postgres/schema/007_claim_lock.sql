-- oldest client: 1
-- Claims wait for the row of `meta`: an advisory lock could be held by every user of the database, also by a viewer, and
-- then no run began. Otherwise the function is as before.
CREATE OR REPLACE FUNCTION claim_cvms(
  p_run text, p_claim uuid, p_cloud_url text, p_keys text[], p_cvms jsonb, p_lease interval, p_ignore boolean,
  OUT run_id text, OUT cvms jsonb, OUT is_live boolean, OUT has_ended boolean, OUT age float8
) RETURNS SETOF record LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  found record;
  is_refused boolean := false;
BEGIN
  PERFORM 1 FROM orchestrator.meta FOR NO KEY UPDATE;  -- check and claim are one step
  DELETE FROM orchestrator.claims c WHERE c.live_until < clock_timestamp() - interval '1 day';
  FOR found IN
    SELECT c.run_id, c.cvms, c.live_until > clock_timestamp() AS is_live, c.ended,
        extract(epoch FROM clock_timestamp() - c.live_until)::float8 AS age
      FROM orchestrator.claims c
      WHERE c.claim_id <> p_claim AND (
        (c.cloud_url = p_cloud_url AND c.keys && p_keys AND c.run_id <> p_run)
        OR (c.run_id = p_run AND c.live_until > clock_timestamp()))
      ORDER BY c.run_id
  LOOP
    run_id := found.run_id; cvms := found.cvms; is_live := found.is_live; has_ended := found.ended; age := found.age;
    is_refused := is_refused OR (found.is_live AND (NOT p_ignore OR found.run_id = p_run));
    RETURN NEXT;
  END LOOP;
  IF NOT is_refused THEN
    INSERT INTO orchestrator.claims AS c (run_id, claim_id, cloud_url, keys, cvms, live_until)
      VALUES (p_run, p_claim, p_cloud_url, p_keys, p_cvms, clock_timestamp() + p_lease)
      ON CONFLICT ON CONSTRAINT claims_pkey DO UPDATE SET claim_id = p_claim, cloud_url = p_cloud_url, keys = p_keys,
        cvms = p_cvms, live_until = clock_timestamp() + p_lease, ended = false;
  END IF;
END $$;
