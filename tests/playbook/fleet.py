"""Inventories for tests: small fixed fleets, and many fleets by hypothesis."""

from hypothesis import strategies as st

from orchestrator.cvm import Cvm, CvmRef

STATUSES = ("running", "stopped", "exited", "stopping", "starting", "error", "hibernated")
NAMES = ("dev-1", "dev-2", "kms-1", "web[1]", "batch", "")
APPS = ("a1", "b2", None)


def cvm(
    number: int = 1,
    name: str = "dev-1",
    status: str = "running",
    *,
    app: str | None = "a1",
    pod: int | None = 1,
    **more: object,
) -> Cvm:
    """Make a CVM; its teepod has the name `prod-N`."""
    teepod = None if pod is None else f"prod-{pod}"
    ref = CvmRef(f"cvm_{number}", f"{number:032x}", name, app, pod, teepod)
    return Cvm(ref=ref, status=status, **more)  # type: ignore[arg-type] # any other field


ONE_CVM = st.builds(
    lambda name, status, app, pod, busy: (name, status, app, pod, busy),
    st.sampled_from(NAMES),
    st.sampled_from(STATUSES),
    st.sampled_from(APPS),
    st.sampled_from([1, 2, None]),
    st.booleans(),
)
INVENTORIES = st.lists(ONE_CVM, max_size=12).map(
    lambda rows: [
        cvm(number, name, status, app=app, pod=pod, in_progress=busy)
        for number, (name, status, app, pod, busy) in enumerate(rows, start=1)
    ],
)

_SOME = {
    "teepod": st.sampled_from(["1", "2", "prod-*", "prod-?", "*", "nowhere"]),
    "app_id": st.sampled_from(["A1", "0xa1", "app_b2", "c3"]),
    "name": st.sampled_from(["dev-*", "dev-?", "*", "web[1]", "kms-1", "?*", "x"]),
    "status": st.sampled_from(STATUSES),
}
_FLAT = st.fixed_dictionaries(
    {}, optional={key: st.lists(value, min_size=1, max_size=2) for key, value in _SOME.items()}
)


def _something(keys: dict[str, list[str]]) -> dict[str, object]:
    return {**keys} if keys else {"all": "true"}


SELECTS = st.recursive(
    _FLAT.map(_something),
    lambda inner: st.builds(
        lambda keys, more: {**keys, **more},
        _FLAT,
        st.one_of(
            st.fixed_dictionaries({"any": st.lists(inner, min_size=1, max_size=2)}),
            st.fixed_dictionaries({"any": st.lists(inner, min_size=1, max_size=2), "exclude": inner}),
        ),
    ),
    max_leaves=4,
)
