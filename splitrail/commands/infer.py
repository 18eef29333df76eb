"""`splitrail infer`: real images through a deployment, with the answer and where its time and energy went."""

import argparse
import itertools
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from broker.messages import DeploymentNotice, InferenceReport, InferReply
from broker.sign_in import BrokerSettings
from models.images import load_image
from splitrail.client import IN_FLIGHT, MOST_IN_FLIGHT, Client, paced
from splitrail.client_settings import ClientSettings
from splitrail.errors import SplitrailError
from splitrail.log_lines import log_to_stderr
from splitrail.option_types import number_above_zero_up_to, whole_number
from splitrail.settings import load_settings
from splitrail.stream_figures import StreamTally, words_of
from splitrail.terminal import printable

EXAMPLE = "splitrail infer mobilenetv2 china.jpg flower.jpg --broker 127.0.0.1:1883 --site home"
LONGEST_TIMEOUT_S = 86_400.0  # a day
MOST_CLASSES = 100  # as InferRequest admits
MOST_FRAMES = 10**9
HIGHEST_FPS = 10_000.0
IMAGE_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif"))  # those of models.images.FORMATS


class InferenceFailedError(SplitrailError, RuntimeError):
    """The deployment answered with an error."""


class NoRateError(SplitrailError, ValueError):
    """A live stream whose frames come at no rate."""


class NoStreamError(SplitrailError, ValueError):
    """Options of a stream where single images are sent."""


class NoImagesError(SplitrailError, FileNotFoundError):
    """A directory that holds no image."""


class BadAddressError(SplitrailError, ValueError):
    """Not a broker's HOST:PORT."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("model", metavar="MODEL", help="the name of a deployment, or of the model that it runs")
    parser.add_argument(
        "images",
        nargs="+",
        type=Path,
        metavar="IMAGE",
        help="a photograph (JPEG, PNG, ...), or a directory of them, which are taken by name",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="a client.yaml with broker and site")
    parser.add_argument("--broker", metavar="HOST:PORT", help="the MQTT broker (default 127.0.0.1:1883)")
    parser.add_argument("--username", help="the broker's user")
    parser.add_argument("--password-file", type=Path, metavar="FILE", help="a file that holds the user's password")
    parser.add_argument(
        "--ca-file", type=Path, metavar="FILE", help="authority that signed the broker's certificate; speaks TLS"
    )
    parser.add_argument("--site", help="the site (default home)")
    parser.add_argument("--top", type=whole_number(1, MOST_CLASSES), default=5, metavar="N", help="classes to show (5)")
    parser.add_argument(
        "--timeout",
        type=number_above_zero_up_to(LONGEST_TIMEOUT_S, "seconds"),
        default=60.0,
        metavar="S",
        help="seconds to wait for each answer (60)",
    )
    parser.add_argument("--json", action="store_true", help="print the answers, or a stream's figures, as JSON")
    stream = parser.add_argument_group("streams", "several frames under way at once, and figures in place of answers")
    stream.add_argument("--stream", action="store_true", help="send the images as the frames of one stream")
    stream.add_argument(
        "--frames", type=whole_number(1, MOST_FRAMES), metavar="N", help="frames to send, the images again and again"
    )
    stream.add_argument(
        "--fps",
        type=number_above_zero_up_to(HIGHEST_FPS, "frames a second"),
        metavar="F",
        help="frames a second (as fast as they are answered)",
    )
    stream.add_argument(
        "--policy",
        choices=("every", "latest"),
        help="answer every frame, or drop those that have not begun when a newer one comes (every)",
    )
    stream.add_argument(
        "--in-flight",
        type=whole_number(1, MOST_IN_FLIGHT),
        metavar="N",
        help=f"frames that may be under way at once ({IN_FLIGHT})",
    )


def run(arguments: argparse.Namespace) -> int:
    """Send each image in turn and print its answer, or all as a stream and print its figures."""
    log_to_stderr(logging.WARNING, "splitrail: %(message)s")
    _check_stream_options(arguments)
    paths = [path for each in arguments.images for path in _images(each)]
    for path in paths[:1] if arguments.stream else paths:
        load_image(path)  # a wrong image is found here, before the first one is sent
    settings = _settings(arguments)
    with Client(settings.broker, site=settings.site) as client:
        deployment = client.deployment(arguments.model)
        if arguments.stream:
            _stream(client, deployment, paths, arguments)
        else:
            _answer_each(client, deployment, paths, arguments)
    return 0


def _check_stream_options(arguments: argparse.Namespace) -> None:
    named = [name for name in ("frames", "fps", "policy", "in_flight") if getattr(arguments, name) is not None]
    if named and not arguments.stream:
        raise NoStreamError(f"--{named[0].replace('_', '-')} is for the frames of a stream: add --stream")
    if arguments.policy == "latest" and arguments.fps is None:
        raise NoRateError("--policy latest is for frames that come at a rate: name it with --fps, such as --fps 30")


def _answer_each(
    client: Client, deployment: DeploymentNotice, paths: list[Path], arguments: argparse.Namespace
) -> None:
    answers = []
    for path in paths:
        reply = client.infer(deployment, path.read_bytes(), top=arguments.top, timeout_s=arguments.timeout)
        if reply.error is not None:
            raise InferenceFailedError(f"{path}: {deployment.deployment} answered: {reply.error}")
        answers.append(reply)
        if not arguments.json:
            _print_answer(path, reply)
    if arguments.json:
        print(msgspec.json.encode(answers).decode())


def _stream(client: Client, deployment: DeploymentNotice, paths: list[Path], arguments: argparse.Namespace) -> None:
    frames: Iterator[bytes] = (path.read_bytes() for path in _repeated(paths, arguments.frames))
    if arguments.fps is not None:
        frames = paced(frames, arguments.fps)
    tally = StreamTally()
    started_s = time.perf_counter()
    for answer in client.stream(
        deployment,
        frames,
        policy=arguments.policy or "every",
        in_flight=arguments.in_flight or IN_FLIGHT,
        top=arguments.top,
        timeout_s=arguments.timeout,
    ):
        tally.take(answer)
    figures = tally.figures(time.perf_counter() - started_s)
    if figures.answered == 0:
        raise InferenceFailedError(f"{deployment.deployment} answered no frame: {figures.first_error}")
    print(msgspec.json.encode(figures).decode() if arguments.json else words_of(figures))


def _images(path: Path) -> list[Path]:
    """The file itself, or the images of a directory by name; NoImagesError where it has none."""
    if not path.is_dir():
        return [path]
    images = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise NoImagesError(f"{path}: no image is in this directory; they end in {', '.join(sorted(IMAGE_SUFFIXES))}")
    return images


def _repeated(paths: list[Path], frames: int | None) -> Iterator[Path]:
    """Each once, or so many, from the first again after the last."""
    return iter(paths) if frames is None else itertools.islice(itertools.cycle(paths), frames)


def _settings(arguments: argparse.Namespace) -> ClientSettings:
    """What the options say, else the file, else the defaults."""
    settings = ClientSettings() if arguments.config is None else load_settings(arguments.config, ClientSettings)
    broker: BrokerSettings = settings.broker
    if arguments.broker is not None:
        host, port = _address(arguments.broker)
        broker = msgspec.structs.replace(broker, host=host, port=port)
    given = {name: getattr(arguments, name) for name in ("username", "password_file", "ca_file")}
    chosen = {name: value for name, value in given.items() if value is not None}
    return msgspec.structs.replace(
        settings, broker=msgspec.structs.replace(broker, **chosen), site=arguments.site or settings.site
    )


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:  # the range of TCP ports
        raise BadAddressError(f"--broker {text}: not an address; it would have to be like 127.0.0.1:1883")
    return host, int(port)


def _print_answer(path: Path, reply: InferReply) -> None:
    console = Console()
    console.print(str(path), style="bold", soft_wrap=True, highlight=False)
    for one in reply.classes:
        console.print(f"{one.score:7.2%}  {printable(one.label)}", soft_wrap=True, highlight=False)
    if reply.report is not None:
        report = reply.report
        console.print(f"{report.latency_ms:.1f} ms under epoch {report.epoch}", soft_wrap=True, highlight=False)
        console.print(_time_account(report))
        console.print(
            f"{report.origin_energy_j:.3f} J at {report.origin}, {report.total_energy_j:.3f} J in all "
            f"({report.energy_source}, {report.energy_scope})",
            soft_wrap=True,
            highlight=False,
        )
        console.print(_energy_account(report))
        if report.compute_energy is not None:
            total = report.compute_energy
            console.print(
                f"{total.energy_j:.3f} ± {total.energy_j_std:.3f} J while computing, as the nodes say "
                f"(source {total.source}, scope {total.scope})",
                soft_wrap=True,
                highlight=False,
            )
        if any(stage.energy is not None for stage in report.stages):
            console.print(_stage_account(report))
        console.print()


def _energy_account(report: InferenceReport) -> Table:
    """Where the energy of one inference went, by the cost model."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("node", "compute J", "waiting J", "radio J"):
        table.add_column(heading, justify="left" if heading == "node" else "right")
    for energy in report.node_energy:
        table.add_row(energy.node, f"{energy.compute_j:.3f}", f"{energy.waiting_j:.3f}", f"{energy.radio_j:.3f}")
    return table


def _stage_account(report: InferenceReport) -> Table:
    """What each node says that its stages took while they computed, and how it knows."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("stage", "J", "± J", "how", "source", "meter", "scope"):
        table.add_column(heading, justify="right" if "J" in heading else "left")
    for stage in report.stages:
        if stage.energy is not None:
            told = stage.energy
            table.add_row(
                f"{stage.node}: ops {stage.start}..{stage.stop - 1}",
                f"{told.energy_j:.3f}",
                f"{told.energy_j_std:.3f}",
                told.method,
                told.source,
                printable(told.meter),
                told.scope,
            )
    return table


def _time_account(report: InferenceReport) -> Table:
    """Where the time of one inference went."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in ("step", "ms", "share"):
        table.add_column(heading, justify="left" if heading == "step" else "right")
    steps = [(f"{s.node}: ops {s.start}..{s.stop - 1}", s.compute_ms) for s in report.stages]
    steps += [(f"{s.node}: waiting", s.wait_ms) for s in report.stages if s.wait_ms >= 0.1]  # shown to a tenth
    steps += [(f"{t.src} → {t.dst}: {t.size_bytes / 1e3:.1f} kB", t.transfer_ms) for t in report.transfers]
    accounted_ms = sum(ms for _, ms in steps)
    steps.append(("everything else", max(0.0, report.latency_ms - accounted_ms)))
    for step, ms in steps:
        table.add_row(step, f"{ms:.1f}", f"{ms / report.latency_ms:.0%}" if report.latency_ms else "")
    return table
