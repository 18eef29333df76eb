"""A chaos experiment: sites under load, one fault after the other, and a new site where one did not recover.

Options and the printing are the command's; what is done in one trial is `testbed.chaos.trial`'s.
"""

import itertools
import random
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from broker.messages import ModelReference
from broker.mosquitto import free_port
from broker.site_directory import SiteDirectory
from coordinator.configuration import DeploymentSettings
from coordinator.declaring import model_facts, model_name
from coordinator.problem import Objective
from models.cache import file_sha256
from models.classification import top_classes
from models.graph import read_graph
from models.images import load_image, to_input
from models.preprocessing import read_preprocessing
from models.runtime import Segment
from splitrail import __version__
from testbed.chaos.checks import Answer
from testbed.chaos.client import TOP, SteadyClient
from testbed.chaos.convergence import Truth
from testbed.chaos.faults import Fault, Victim
from testbed.chaos.report import written
from testbed.chaos.results import Conditions, Results, Trial
from testbed.chaos.scene import DEPLOYMENT, LEADERSHIP, NODES, ORIGIN, PLANNING, PROBING, SHAPES, SLOWER, deployment
from testbed.chaos.spool_disk import SpoolDisk
from testbed.chaos.trial import Site, Timing, look_around, run_trial, wait_until_converged
from testbed.chaos.witness import Witness
from testbed.continuum import Continuum
from testbed.errors import ExperimentError
from testbed.host_timing import quiet_stderr
from testbed.processes import Step
from testbed.shaping import LOOPBACK
from testbed.workload import photograph_crops

REQUEST_TIMEOUT_S = 12.0
WARM_UP_S = 3.0
SITE, CLIENT = "chaos", "visitor"
QUICK = Timing(after_s=(0.5, 1.5), held_s=(3.5, 4.5))
FULL = Timing(after_s=(1.0, 4.0), held_s=(4.0, 12.0))
EMULATED = (
    f"three nodes, each {SLOWER:g} times slower than this machine, and the links between them; "
    "processes, broker, stores and disks are real"
)


@dataclass(frozen=True, slots=True)
class ChaosOptions:
    """What a user may choose."""

    faults: tuple[Fault, ...]
    rounds: int
    seed: int
    model: Path
    photographs: tuple[Path, ...]
    out: Path
    timing: Timing
    secured: bool = False
    rate_per_s: float = 2.0


Told = Callable[[Trial], None]


def run_chaos(options: ChaosOptions, step: Step, told: Told) -> Results:
    """Play every fault in every round and write results.json and report.md; `told` hears of each trial.

    ExperimentError if no site comes about. The files of a site where a trial failed are kept below `out`.
    """
    draw = random.Random(options.seed)
    images = photograph_crops(options.photographs)
    expected = unsplit_answers(options.model, images)
    left = [(fault, number) for number in range(1, options.rounds + 1) for fault in options.faults]
    trials: list[Trial] = []
    disk_words = ""
    for attempt in itertools.count(1):
        directory = _made(options.out / f"site-{attempt}")
        with _site(options, directory, images, expected, step) as site:
            disk_words = site.victim.disk.words
            while left:
                fault, number = left.pop(0)
                with step(f"{fault.name}: {fault.words}"):
                    trials.append(run_trial(site, fault, number, options.timing, draw))
                told(trials[-1])
                if not trials[-1].passed:
                    break  # what one fault has left behind must not be laid to the next
        if trials[-1].passed:
            shutil.rmtree(directory)
        if not left:
            break
    results = Results(
        version=__version__,
        conditions=Conditions(
            model=options.model.name,
            secured=options.secured,
            seed=options.seed,
            rate_per_s=options.rate_per_s,
            spool_disk=disk_words,
            emulated=EMULATED,
        ),
        trials=tuple(trials),
    )
    (options.out / "results.json").write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n")
    (options.out / "report.md").write_text(written(results), encoding="utf-8")
    return results


def _made(directory: Path) -> Path:
    """The directory, made anew, by its absolute path; ExperimentError if it cannot be, or holds something already."""
    try:
        directory.mkdir(parents=True)
    except OSError as error:
        raise ExperimentError(
            f"{directory}: cannot be used: {error.strerror}; name another --out, or remove what is there"
        ) from None
    # Paths in settings count from the settings' own directory, ours from where the command was given.
    return directory.absolute()


def unsplit_answers(model: Path, images: Sequence[bytes]) -> tuple[Answer, ...]:
    """What the unsplit model says of each image, on this machine."""
    with quiet_stderr():
        segment = Segment(model)
    try:
        graph, preprocessing = read_graph(model), read_preprocessing(model)
        wanted, given = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
        answers = []
        for image in images:
            pixels = to_input(load_image(image), wanted.shape, wanted.dtype, wanted.quantization, preprocessing)
            best = top_classes(segment.run([pixels])[0], TOP, quantization=given.quantization)
            answers.append(tuple((each.index, each.score) for each in best))
        return tuple(answers)
    finally:
        segment.close()


@contextmanager
def _site(
    options: ChaosOptions, directory: Path, images: Sequence[bytes], expected: Sequence[Answer], step: Step
) -> Iterator[Site]:
    """A site that has converged, with its client and its witness; ExperimentError if it does not come about."""
    declared = deployment(options.model.resolve())
    spools = directory / "spool-disk"
    continuum = Continuum(
        NODES,
        SHAPES,
        (declared,),
        directory,
        site=SITE,
        planning=PLANNING,
        probing=PROBING,
        leadership=LEADERSHIP,
        spools={ORIGIN: spools},
        locks=_made_locks(directory / "site") if options.secured else None,
        step=step,
    )
    with SpoolDisk(spools, lambda: continuum.pids().get(ORIGIN)) as disk, continuum:
        listening = continuum.session("chaos-witness")
        overhearing, asking = (continuum.session(f"chaos-{name}", CLIENT) for name in ("replies", "client"))
        witness = Witness(listening, overhearing)
        client = SteadyClient(
            asking,
            DEPLOYMENT,
            images,
            origin=ORIGIN,
            rate_per_s=options.rate_per_s,
            timeout_s=REQUEST_TIMEOUT_S,
        )
        victim = Victim(continuum, disk, lambda: witness.heard().leader)
        site = Site(victim, client, witness, _truth(options.model, declared), expected, before={})
        with listening, overhearing, asking:
            with step("waiting for the first plan"):
                _warm_up(site, directory)
            yield replace(site, before=look_around(continuum))


def _warm_up(site: Site, directory: Path) -> None:
    """Let requests run until all is as it should be, and a little longer."""
    site.client.begin()
    try:
        _, wrong = wait_until_converged(site)
        time.sleep(WARM_UP_S)
    finally:
        site.client.finish()
    if wrong:
        raise ExperimentError(f"the site did not come about: {wrong} (logs: {directory})")


def _made_locks(path: Path) -> SiteDirectory:
    """A site such as `splitrail site init` makes, with the nodes and the client as its members."""
    locks = SiteDirectory.create(path, site=SITE, hosts=(LOOPBACK,), port=free_port())
    for node in NODES:
        locks.add_node(node.name, node.tier)
    locks.add_client(CLIENT)
    return locks


def _truth(model: Path, declared: DeploymentSettings) -> Truth:
    graph = read_graph(model)
    reference = ModelReference(
        sha256=file_sha256(model),
        name=model_name(model),
        size_bytes=model.stat().st_size,
        ops=len(graph.ops),
        url="",  # nobody fetches it by this
    )
    objective = Objective(**msgspec.structs.asdict(declared.objective))
    return Truth(tuple(node.name for node in NODES), model_facts(graph, reference), ORIGIN, objective, SHAPES)
