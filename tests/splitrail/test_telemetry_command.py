"""`splitrail telemetry`: what it prints, where it writes, and how it says what is wrong."""

import json
import os
import pty
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from stored_telemetry import a_store

from coordinator.configuration import InfluxSettings
from coordinator.telemetry.influx_server import InfluxServer
from coordinator.telemetry.influx_shipping import Refused
from coordinator.telemetry.influx_spool import Spool
from coordinator.telemetry.measurements import MEASUREMENTS
from coordinator.telemetry.sqlite_file import connect_to_read, sole_use
from splitrail.cli import main

ALL = ("--since", "2023-11-15T00:00Z", "--until", "2023-11-15T00:01Z")
SETTINGS = """\
site: home
store: telemetry.sqlite
{more}
deployments:
  - {{name: photos, model: net.tflite, origin: pi}}
"""

Run = Callable[..., int]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a store and the settings that name it, where the command is typed."""
    monkeypatch.chdir(tmp_path)
    a_store(tmp_path / "telemetry.sqlite")
    (tmp_path / "coordinator.yaml").write_text(SETTINGS.format(more=""))
    return tmp_path


def name_influxdb(here: Path, settings: InfluxSettings) -> None:
    more = f"influxdb:\n  url: {settings.url}\n  database: {settings.database}"
    (here / "coordinator.yaml").write_text(SETTINGS.format(more=more))


def files_in(here: Path) -> set[str]:
    """But for the log that SQLite makes beside a database for whoever reads it."""
    return {path.name for path in here.iterdir() if not path.name.endswith(("-shm", "-wal"))}


def telemetry(*arguments: str) -> int:
    return main(["telemetry", *arguments])


def test_an_export_is_a_directory_of_files(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One for each measurement; the counts go to stderr."""
    assert telemetry("export", *ALL, "--format", "csv") == 0
    assert {path.name for path in (here / "telemetry-export").iterdir()} == {
        f"{each.name}.csv" for each in MEASUREMENTS
    }
    said = capsys.readouterr()
    assert said.out == ""
    assert "inference           20  telemetry-export/inference.csv\n" in said.err
    assert "rows from telemetry.sqlite, 2023-11-15T00:00:00.000000000Z to 2023-11-15T00:01:00" in said.err


def test_one_stream_goes_to_standard_output(here: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Line protocol, or a csv of one measurement: to look at, or to pipe on."""
    assert telemetry("export", *ALL, "--format", "lp", "--measurement", "link") == 0
    assert capfdbinary.readouterr().out == (
        b"link,dst=pc,method=probe,src=pi,way=direct mbps=40,mbps_std=4,rtt_ms=2,rtt_ms_std=0.5 1700006400250000000\n"
    )
    assert telemetry("export", *ALL, "--format", "csv", "--measurement", "link", "--out", "-") == 0
    assert capfdbinary.readouterr().out == (
        b"time,src,dst,method,way,rtt_ms,rtt_ms_std,mbps,mbps_std\r\n"
        b"2023-11-15T00:00:00.250000000Z,pi,pc,probe,direct,2.0,0.5,40.0,4.0\r\n"
    )


def test_the_counts_can_be_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the files, for a program."""
    assert telemetry("export", *ALL, "--format", "parquet", "--measurement", "energy", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["measurements"] == [{"measurement": "energy", "rows": 20, "file": "telemetry-export/energy.parquet"}]
    assert (said["rows"], said["source"], said["waiting"]) == (20, "telemetry.sqlite", 0)


def test_an_export_from_influxdb_is_the_same(
    here: Path, influx_settings: InfluxSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    """And says what is still on its way."""
    assert telemetry("export", *ALL, "--format", "lp", "--out", "sqlite.lp") == 0
    with closing(InfluxServer(influx_settings)) as server:
        server.write((here / "sqlite.lp").read_bytes())
    name_influxdb(here, influx_settings)
    spool = Spool(here / "telemetry.sqlite", max_bytes=1_000_000)
    with closing(connect_to_read(here / "telemetry.sqlite")) as connection, connection:
        spool.begin(connection)
        spool.add([b"link mbps=1 1"])
        spool.finish(connection)
    capsys.readouterr()
    assert telemetry("export", *ALL, "--format", "lp", "--out", "influxdb.lp") == 0
    assert (here / "influxdb.lp").read_bytes() == (here / "sqlite.lp").read_bytes()
    assert "1 points are still on their way to InfluxDB: they are not in it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--since", "soon", "--format", "csv"), "'soon' is no time: give one such as 1h"),
        (("--since", "1h", "--until", "2h", "--format", "csv"), "--since 1h is not before --until 2h"),
        (("--since", "1h", "--format", "csv", "--out", "-"), "a csv has one measurement; choose it with --measurement"),
        (("--since", "1h", "--format", "parquet", "--out", "-"), "Parquet is written to a file; give one"),
        (("--since", "1h", "--format", "lp", "--out", "-", "--json"), "--json prints there too"),
        (("--since", "1h", "--format", "csv", "--out", "coordinator.yaml"), "there are several to write"),
        (("--since", "1h", "--format", "lp", "--out", "coordinator.yaml"), "is there already; give another --out"),
        (("--since", "1h", "--format", "lp", "--config", "none.yaml"), "none.yaml:1:1: there is no such file"),
    ],
)
def test_a_mistake_is_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], sentence: str
) -> None:
    """What is wrong and what would be right; nothing is written."""
    before = files_in(here)
    assert telemetry("export", *arguments) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert sentence in said.err
    assert files_in(here) == before


@pytest.mark.parametrize("arguments", [("--since", "1h"), ("--since", "1h", "--format", "xml"), ("--format", "csv")])
def test_bad_usage_is_one_line(here: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    """As of every command."""
    with pytest.raises(SystemExit, match="2"):
        telemetry("export", *arguments)
    assert capsys.readouterr().err.count("\n") == 1


def test_parquet_says_what_it_needs(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyarrow is large: a coordinator does not have it unless somebody wants it."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert telemetry("export", *ALL, "--format", "parquet") == 2
    assert capsys.readouterr().err == (
        "splitrail: --format parquet needs the package 'pyarrow': pip install 'splitrail[experiments]'\n"
    )
    assert not list((here / "telemetry-export").iterdir())


@pytest.mark.parametrize("form", ["csv", "parquet", "lp"])
def test_a_full_disk_is_one_line(here: Path, tmp_path: Path, form: str) -> None:
    """And nothing of the export is left; a bound on the size of files stands for the disk's."""
    (here / "telemetry.sqlite").unlink()
    a_store(here / "telemetry.sqlite", inferences=4_000)
    command = f"ulimit -f 40; exec {sys.executable} -m splitrail telemetry export --since 2023-01-01 --format {form}"
    done = subprocess.run(["bash", "-c", f"{command} --out out"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "cannot be written: File too large" in done.stderr
    assert not (here / "out").is_file()
    assert not list(here.glob("**/*.partial"))


def test_a_text_from_elsewhere_cannot_steer_a_terminal(here: Path) -> None:
    """What is piped on is left as it is."""
    with closing(sqlite3.connect(here / "telemetry.sqlite")) as connection, connection:
        connection.execute("UPDATE event SET text = 'a \x1b[2J b'")
    command = [sys.executable, "-m", "splitrail", "telemetry", "export", *ALL, "--format", "lp"]
    command += ["--measurement", "event"]
    terminal, end = pty.openpty()
    subprocess.run(command, stdout=end, stderr=subprocess.DEVNULL, check=True)
    os.close(end)
    shown = os.read(terminal, 65_536)
    os.close(terminal)
    assert b'text="a ?[2J b"' in shown
    piped = subprocess.run(command, capture_output=True, check=True).stdout
    assert b'text="a \x1b[2J b"' in piped


def test_influxdb_that_is_away_is_one_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is asked of it."""
    name_influxdb(here, InfluxSettings(url="http://127.0.0.1:9"))
    for arguments in (("export", *ALL, "--format", "lp"), ("init",)):
        assert telemetry(*arguments) == 2
        assert "http://127.0.0.1:9: no InfluxDB listens there: start it, or correct influxdb.url" in (
            capsys.readouterr().err
        )


def test_a_server_is_set_up(here: Path, influx_settings: InfluxSettings, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what it made, changed and kept; a dry run what it would."""
    name_influxdb(here, influx_settings)
    name = influx_settings.database
    assert telemetry("init", "--raw", "90d", "--dry-run") == 0
    said = capsys.readouterr().out
    assert f'ALTER RETENTION POLICY "autogen" ON "{name}" DURATION 2160h SHARD DURATION 24h' in said
    assert telemetry("init", "--raw", "90d") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"{influx_settings.url}: InfluxDB 1.6.7~rc0"
    assert lines[1] == f"  changed    database {name}, raw points for 90d"
    assert lines[2] == "  made       policy rollup, minutes for 2y"
    assert lines[3] == "  made       continuous query splitrail_energy, the minutes of energy"
    assert telemetry("init", "--json") == 0
    setup = json.loads(capsys.readouterr().out)
    assert {step["action"] for step in setup["steps"]} == {"kept"}


def test_bad_settings_for_init_are_one_line(here: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """No InfluxDB, a retention that is none, minutes for less time than points, no password."""
    assert telemetry("init") == 2
    assert "has no `influxdb`, so telemetry is kept in `store`, which needs no setting up" in capsys.readouterr().err
    name_influxdb(here, InfluxSettings(url="http://127.0.0.1:9"))
    for arguments in (("--raw", "5m"), ("--raw", "a week")):
        with pytest.raises(SystemExit, match="2"):
            telemetry("init", *arguments)
        assert capsys.readouterr().err.count("\n") == 1
    assert telemetry("init", "--raw", "inf", "--keep", "2y") == 2
    assert "--keep 2y is shorter than --raw inf" in capsys.readouterr().err
    assert telemetry("init", "--username", "admin", "--password-file", "none") == 2
    assert "none cannot be read: No such file or directory" in capsys.readouterr().err


def test_dead_letters_are_shown_and_given_back(
    here: Path, influx_settings: InfluxSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only while no coordinator holds the store; a line from elsewhere cannot steer the terminal."""
    store = here / "telemetry.sqlite"
    name_influxdb(here, influx_settings)
    assert telemetry("dead-letters") == 0
    assert capsys.readouterr().out == "refused: no points\n"
    spool = Spool(store, max_bytes=1_000_000)
    with closing(connect_to_read(store)) as connection:
        spool.bury(connection, (Refused(b"link mbps=\x1b[2J 1", "bad \x1b[2J number"),), now=0.0)
    assert telemetry("dead-letters") == 0
    assert capsys.readouterr().out == (
        "refused: 1 point\n1970-01-01 00:00:00Z  bad ?[2J number\n    link mbps=?[2J 1\n"
    )
    assert telemetry("dead-letters", "--json") == 0
    assert json.loads(capsys.readouterr().out)["dead_letters"][0]["at"] == 0.0
    with closing(sole_use(store)):
        assert telemetry("dead-letters", "--retry") == 2
        assert "another coordinator uses this store; stop it" in capsys.readouterr().err
    assert telemetry("dead-letters", "--retry") == 0
    assert capsys.readouterr().out == "given back: 1 point; the next coordinator sends them\n"
    assert telemetry("dead-letters", "--discard") == 0
    assert capsys.readouterr().out == "removed: no points\n"


def test_there_is_nothing_to_give_points_to_without_influxdb(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They can be removed."""
    assert telemetry("dead-letters", "--retry") == 2
    assert "has no `influxdb` to give points to; --discard removes them" in capsys.readouterr().err
    assert telemetry("dead-letters", "--discard") == 0
