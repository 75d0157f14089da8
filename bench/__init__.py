"""Measure the speed of the orchestrator beside yardsticks from the same run: `make bench`.

    cases/         one file a case: the command, its yardsticks and its targets
    figures        the arithmetic: medians, the bound of a rate limit, the used share of a limit
    process        a started process, pinned to a core, with a time limit; its CPU seconds and memory
    work_folder    a temporary folder: playbooks, the installed command, a simulated cloud
    server         a minimal, fast server, for cases in which the simulator would be the bottleneck
    bare_loops     loops that send the same stops and do nothing else
    simple_script  a script as written in an afternoon
    fleet          a whole run on virtual time, in its own process
    result         the result of a case; results/ keeps the result as JSON
    table, chart, page   the results for the terminal, as a chart, and for the docs

Nothing here is a test: figures depend on the machine, and no exit code depends on figures. All traffic is loopback.
"""
