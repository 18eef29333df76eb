"""Under what an experiment's figures came about, in sentences: what is emulated, simulated and modelled."""

from testbed.machines import MACHINES
from testbed.paper.grid import duration_words
from testbed.paper.packing import ACCURACY_LOSS
from testbed.paper.results import Results
from testbed.paper.scenario import PROBING

EMULATED_WORDS = (
    "Emulated, on one host: the machines (compute stretched to their published times), the links (a proxy that holds "
    "bytes back as the trace says) and the contention on the fog node (compute stretched by a schedule). Real: the "
    "agents, the coordinator, the broker, the inference and its tensors; broker and tensors run open, on loopback only."
)
SIMULATED_WORDS = (
    "Simulated, in virtual time: compute (from profiles), links, messages and the loading of segments. Real: the link "
    "estimators and probes, the coordinator's state and decisions, and the energy accounting."
)
CODECS_WORDS = (
    f"Contenders named -codecs may pack tensors, as long as at most {ACCURACY_LOSS:.0%} of the top-1 answers on the "
    "images that the codecs were measured with would change; the image may travel as pixels or as the JPEG that it "
    "came in. Time and size of packing were measured on this host, the time stretched for slower machines. All others "
    "send everything raw."
)
ENERGY_WORDS = (
    "Every energy figure is modelled, none is measured: by our cost model over whole boards ("
    + ", ".join(f"{each.node} {each.power.idle_w:g} to {each.power.busy_w:g} W" for each in MACHINES)
    + "), and by the published one, in which the Pi draws 12 W while it computes and nothing else."
)


def circumstances(results: Results) -> tuple[str, ...]:
    """What is emulated, simulated and modelled, and what the figures rest on, in sentences."""
    settings = results.settings
    models = [
        f"{'; '.join((f'{each.model}: {each.weights}', *each.remarks))}; times {each.profile}."
        for each in results.models
    ]
    return (
        *((EMULATED_WORDS,) if settings.mode == "emulated" else ()),
        SIMULATED_WORDS,
        ENERGY_WORDS,
        *((CODECS_WORDS,) if results.codecs else ()),
        *models,
        f"Traces: {'; '.join(trace.label for trace in settings.traces)}; at most {settings.seconds:g} s of each.",
        f"Agents probe a link that carries nothing every {PROBING.probe_interval_s:g} s, with at most "
        f"{PROBING.max_probe_bytes_per_minute / 1e6:g} MB a minute; the energy of probes counts for no request.",
        f"{results.runs} runs, {settings.repetitions} of each, {duration_words(results.took_s)} in all.",
    )
