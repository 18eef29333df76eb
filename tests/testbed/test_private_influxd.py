"""A private InfluxDB: its own port and files, through kills, and nothing of it left."""

from contextlib import closing
from pathlib import Path

import pytest
from influxd_fixture import make_database

from coordinator.telemetry.influx_answers import Stored
from coordinator.telemetry.influx_server import InfluxServer
from testbed.errors import InfluxdError
from testbed.private_influxd import PrivateInfluxd, find_influxd

pytestmark = pytest.mark.usefixtures("nothing_left")


def test_it_keeps_its_port_and_what_it_has_confirmed_through_a_kill(tmp_path: Path) -> None:
    """As a power cut would end it."""
    with PrivateInfluxd(tmp_path / "influxd") as influxd, closing(InfluxServer(influxd.settings)) as server:
        make_database(influxd.settings)
        assert server.write(b"energy power_w=3.5 1") == Stored()
        port = influxd.port
        influxd.kill()
        assert influxd.pid is None
        influxd.start()
        assert influxd.port == port
        ((series,),) = server.query("SELECT power_w FROM energy")
        assert series.values == ((1, 3.5),)


def test_why_it_does_not_start_is_said(tmp_path: Path) -> None:
    """With its own last words and the log."""
    with pytest.raises(InfluxdError, match=r"influxd did not start: .*\(log: .*influxd\.log\)"):
        PrivateInfluxd(tmp_path / "influxd", "  no such = line\n").start()


def test_where_there_is_none_the_way_to_get_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """For root and for others."""
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(InfluxdError, match="`sudo apt-get install influxdb`, or `make influxd`"):
        find_influxd()
