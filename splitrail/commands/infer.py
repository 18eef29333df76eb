"""`splitrail infer`: real images through a deployment, with the answer and where its time and energy went."""

import argparse
import logging
import threading
import uuid
from pathlib import Path

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from broker.messages import DeploymentNotice, InferenceReport, InferReply, InferRequest
from broker.session import BrokerSettings, Incoming, Session
from broker.topics import DEPLOYMENT, INFER
from models.images import load_image
from splitrail.client_settings import ClientSettings
from splitrail.errors import SplitrailError
from splitrail.log_lines import log_to_stderr
from splitrail.option_types import whole_number
from splitrail.settings import load_settings
from splitrail.terminal import printable

EXAMPLE = "splitrail infer mobilenetv2 china.jpg flower.jpg --broker 127.0.0.1:1883 --site home"
LOOK_UP_S = 2.0
LONGEST_TIMEOUT_S = 86_400.0
MOST_CLASSES = 100  # as InferRequest admits


class NoSuchDeploymentError(SplitrailError, LookupError):
    """No one deployment of the site bears this name or runs this model."""


class InferenceFailedError(SplitrailError, RuntimeError):
    """The deployment answered with an error."""


class BadAddressError(SplitrailError, ValueError):
    """Not a broker's HOST:PORT."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("model", metavar="MODEL", help="the name of a deployment, or of the model that it runs")
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="a photograph (JPEG, PNG, ...)")
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
        "--timeout", type=_seconds, default=60.0, metavar="S", help="seconds to wait for each answer (60)"
    )
    parser.add_argument("--json", action="store_true", help="print the answers as one JSON array")


def run(arguments: argparse.Namespace) -> int:
    """Send each image in turn and print its answer."""
    log_to_stderr(logging.WARNING, "splitrail: %(message)s")
    for path in arguments.images:
        load_image(path)  # a wrong image is found here, before the first one is sent
    settings = _settings(arguments)
    answers = []
    session = Session(settings.broker, site=settings.site, client_id=f"infer-{uuid.uuid4().hex[:12]}")
    with session:
        notice = _find_deployment(session, arguments.model, settings.site)
        for path in arguments.images:
            request = InferRequest(request_id=uuid.uuid4().hex, image=path.read_bytes(), top=arguments.top)
            reply = session.request(INFER, request, notice.deployment, timeout_s=arguments.timeout, node=notice.origin)
            if reply.error is not None:
                raise InferenceFailedError(f"{path}: {notice.deployment} answered: {reply.error}")
            answers.append(reply)
            if not arguments.json:
                _print_answer(path, reply)
    if arguments.json:
        print(msgspec.json.encode(answers).decode())
    return 0


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


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.0 < seconds <= LONGEST_TIMEOUT_S:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0, and of at most a day")
    return seconds


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65_536:  # the range of TCP ports
        raise BadAddressError(f"--broker {text}: not an address; it would have to be like 127.0.0.1:1883")
    return host, int(port)


def _find_deployment(session: Session, wanted: str, site: str) -> DeploymentNotice:
    """The deployment of this name, else the only one that runs a model of this name, from the retained notices."""
    notices: dict[str, DeploymentNotice] = {}
    named = threading.Event()

    def collect(incoming: Incoming[DeploymentNotice]) -> None:
        notices[incoming.message.deployment] = incoming.message
        if incoming.message.deployment == wanted:
            named.set()

    session.on(DEPLOYMENT, collect)
    named.wait(LOOK_UP_S)
    if wanted in notices:
        return notices[wanted]
    of_model = [notice for notice in notices.values() if notice.model.name == wanted]
    match of_model:
        case [only]:
            return only
        case []:
            there = ", ".join(sorted(notices)) or "none; does its coordinator run?"
            raise NoSuchDeploymentError(f"the site {site!r} has no deployment {wanted!r}; there are: {there}")
        case _:
            names = ", ".join(sorted(notice.deployment for notice in of_model))
            raise NoSuchDeploymentError(f"several deployments run {wanted!r}: name one of {names}")


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
