"""The cloud of a released run, made anew at the address that is in its log."""

import errno
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from orchestrator.simulator.serve import BackgroundSimulator
from orchestrator.simulator.settings import parse_settings

PORT = 18_761
"""Below the ports that systems give out, and used by no other test."""
_PATIENCE = 90.0


@contextmanager
def cloud_of(fleet: Sequence[Mapping[str, str]], *, down: Sequence[str] = ()) -> Iterator[BackgroundSimulator]:
    """Serve CVMs with these ids; those whose hashids are `down` are stopped.

    Another run of the tests on this machine may have the port: this waits for it.
    """
    teepods = list(dict.fromkeys(each["teepod"] for each in fleet))
    simulator = BackgroundSimulator(
        parse_settings(
            {
                "fleet": {"cvms": 0, "teepod_names": sorted(teepods)},
                "timing": {key: [0.05, 0.2] for key in ("stop_seconds", "shutdown_seconds", "start_seconds")},
            }
        ),
        port=PORT,
    )
    world = simulator.world
    for each in fleet:
        cvm = world.add_cvm(
            each["name"],
            teepod=each["teepod"],
            app_id=each["app_id"],
            instance_type=each["instance_type"],
            status="stopped" if each["hashid"] in down else "running",
            now=-86_400.0,
        )
        cvm.hashid, cvm.uuid, cvm.instance_id = each["hashid"], each["uuid"], each["instance_id"]
        world._by_hashid[cvm.hashid] = cvm
        world._by_uuid[cvm.uuid.replace("-", "")] = cvm
        world._by_instance[cvm.instance_id] = cvm
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            simulator.__enter__()
            break
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
            time.sleep(0.2)
    try:
        yield simulator
    finally:
        simulator.__exit__(None, None, None)
