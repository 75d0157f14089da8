# The image of orchestrator. Build: docker build --tag cvm-orchestrator:0.1.0 .
# Run the schedules of ./playbooks, with a read-only root file system:
#   docker run --read-only --tmpfs /tmp --volume orchestrator-state:/state --volume "$PWD/playbooks:/fleet/playbooks:ro" \
#     --env-file key.env cvm-orchestrator:0.1.0
# The digest pins the base for every architecture. For a newer base: docker buildx imagetools inspect python:3.13-slim-trixie
ARG BASE=docker.io/library/python:3.13.15-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements/build.lock requirements/postgres.lock requirements/
RUN python -m venv /opt/build && python -m venv --without-pip /opt/orchestrator
# Wheels only: no build script of a dependency runs here.
RUN /opt/build/bin/python -m pip install --require-hashes --only-binary :all: -r requirements/build.lock
RUN /opt/build/bin/python -m pip --python /opt/orchestrator/bin/python install --require-hashes --only-binary :all: -r requirements/postgres.lock
COPY pyproject.toml README.md LICENSE ./
COPY orchestrator/ orchestrator/
COPY playbooks/ playbooks/
RUN /opt/build/bin/python -m hatchling build --target wheel --directory /opt/build/dist
RUN /opt/build/bin/python -m pip --python /opt/orchestrator/bin/python install --no-deps --no-index /opt/build/dist/cvm_orchestrator-*.whl
# The root file system may be read-only at run time, so the bytecode is written here; by hash, so that it stays valid.
RUN /opt/orchestrator/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/orchestrator/lib
COPY contrib/container/collect_licences.py contrib/container/
RUN /opt/orchestrator/bin/python contrib/container/collect_licences.py /usr/share/licenses

FROM ${BASE}
LABEL org.opencontainers.image.title="cvm-orchestrator" \
      org.opencontainers.image.description="Stops fleets of Phala Cloud confidential VMs by playbook" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13-slim-trixie"
COPY --from=build /usr/share/licenses /usr/share/licenses
COPY --from=build /opt/orchestrator /opt/orchestrator
RUN install -d -m 700 -o 10001 -g 10001 /state && install -d -m 755 /fleet
ENV PATH=/opt/orchestrator/bin:$PATH ORCHESTRATOR_STATE_DIR=/state HOME=/state PYTHONUNBUFFERED=1
# Audit logs, journal and snoozes. Nothing else is written, except temporary files in TMPDIR or /tmp.
VOLUME /state
# With playbooks/ and, if used, config.toml.
WORKDIR /fleet
# A numeric user, so that Kubernetes can check `runAsNonRoot`.
USER 10001:10001
EXPOSE 8642
# For `serve`. Give `--no-healthcheck` for other commands.
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["python", "-m", "orchestrator.service.healthcheck"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["orchestrator"]
# Of all addresses of the container; publish the port only where its readers are trusted.
CMD ["serve", "--listen", "0.0.0.0:8642"]
