"""Measuring how fast the orchestrator is, beside yardsticks that are measured in the same run: `make bench`.

    cases/      one file a case: what is run, beside what, and what to reach
    figures     the arithmetic: medians, the bound of a rate limit, how much of a limit was used
    process     a process that was started, pinned to a core, bounded in time; its CPU seconds and memory
    desk        a working folder: playbooks, the installed command, a simulated cloud
    server      a server that does little and is fast, for cases where the simulator would be the bottleneck
    bare        loops that send the same stops and do nothing else
    afternoon   the script that one would write in an afternoon
    fleet       a whole run on virtual time, in a process of its own
    result      what a case came to; results/ keeps it as JSON
    table, chart, page   the same for the terminal, as a picture, and for the docs

Nothing here is a test: figures depend on the machine, and no exit code depends on them. All traffic is loopback.
"""
