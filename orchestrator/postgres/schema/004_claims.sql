-- oldest client: 1
-- Claims on CVMs by the runs of all machines, so that two runs never act on the same CVM at once. A claim is live until a
-- time of the database's clock; its process renews the claim. Ended claims stay for a day: they tell later runs which
-- statuses may be outdated.

CREATE TABLE claims (
  run_id text PRIMARY KEY,                 -- of a run, or of a run that begins just after its claim
  claim_id uuid NOT NULL,
  cloud_url text NOT NULL,
  keys text[] NOT NULL,                    -- every hashid and UUID of the claimed CVMs
  cvms jsonb NOT NULL,                     -- [[hashid, UUID, name], …]
  live_until timestamptz NOT NULL CHECK (isfinite(live_until)),
  ended boolean NOT NULL DEFAULT false     -- whether the run ended with all its requests answered
) WITH (fillfactor = 50);

-- Claim CVMs, unless a live run claims any of them; with p_ignore despite such runs. Returns the other claims on these
-- CVMs: the claim was made if p_ignore, or if no returned claim is live. A live claim of another process on the same run
-- is returned too, and refuses always.
CREATE FUNCTION claim_cvms(
  p_run text, p_claim uuid, p_cloud_url text, p_keys text[], p_cvms jsonb, p_lease interval, p_ignore boolean,
  OUT run_id text, OUT cvms jsonb, OUT is_live boolean, OUT has_ended boolean, OUT age float8
) RETURNS SETOF record LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_column
DECLARE
  found record;
  is_refused boolean := false;
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('orchestrator.claims', 0));  -- check and claim are one step
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

-- Reduce a claim to some CVMs; false for a claim that is no longer held.
CREATE FUNCTION narrow_claim(p_claim uuid, p_keys text[], p_cvms jsonb) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  WITH narrowed AS (UPDATE orchestrator.claims c SET keys = p_keys, cvms = p_cvms WHERE c.claim_id = p_claim RETURNING 1)
  SELECT count(*) = 1 FROM narrowed
$$;

-- Renew live claims; returns these claims. A claim that is not live any more has to be made again.
CREATE FUNCTION renew_claims(p_claims uuid[], p_lease interval) RETURNS SETOF uuid
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE orchestrator.claims c SET live_until = clock_timestamp() + p_lease
    WHERE c.claim_id = ANY (p_claims) AND c.live_until > clock_timestamp() RETURNING c.claim_id
$$;

-- End a claim now.
CREATE FUNCTION release_claim(p_claim uuid, p_ended boolean) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  UPDATE orchestrator.claims c SET live_until = least(c.live_until, clock_timestamp()), ended = p_ended
    WHERE c.claim_id = p_claim
$$;

CREATE FUNCTION is_any_claim_live(p_runs text[]) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
  SELECT EXISTS (SELECT 1 FROM orchestrator.claims c WHERE c.run_id = ANY (p_runs) AND c.live_until > clock_timestamp())
$$;

REVOKE ALL ON FUNCTION claim_cvms, narrow_claim, renew_claims, release_claim, is_any_claim_live FROM PUBLIC;
GRANT SELECT ON claims TO orchestrator_viewer, orchestrator_operator;
GRANT EXECUTE ON FUNCTION claim_cvms, narrow_claim, renew_claims, release_claim, is_any_claim_live
  TO orchestrator_worker, orchestrator_operator;
