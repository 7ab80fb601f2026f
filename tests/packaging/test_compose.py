"""docker-compose.yml and the configurations it mounts agree with each other and with the code.

No container engine is needed. scripts/check_compose.py proves the rest where there is one.
"""

from __future__ import annotations

import json
import re
import typing
import urllib.parse
from pathlib import Path

import pytest
import yaml

if typing.TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
DASHBOARDS = DEPLOY / "grafana" / "dashboards"


def loaded(path: Path) -> typing.Any:
    """Read a YAML file."""
    return yaml.safe_load(path.read_text(encoding="utf-8"))


COMPOSE = loaded(ROOT / "docker-compose.yml")
SERVICES: dict[str, typing.Any] = COMPOSE["services"]
COLLECTOR = loaded(ROOT / "collector-config.yaml")
JAEGER = loaded(DEPLOY / "jaeger.yaml")
PROMETHEUS = loaded(DEPLOY / "prometheus" / "prometheus.yml")
DATA_SOURCES = loaded(DEPLOY / "grafana" / "datasources.yml")["datasources"]
PROVIDERS = loaded(DEPLOY / "grafana" / "dashboards.yml")["providers"]

every_service = pytest.mark.parametrize("name", SERVICES)


def mounts(name: str) -> dict[str, str]:
    """Return what a service mounts: path in the container to path or volume outside."""
    parts = [mount.split(":") for mount in SERVICES[name].get("volumes", ())]
    return {inside: outside for outside, inside, *_ in parts}


def in_repository(name: str, path: str) -> Path | None:
    """Return the file of the repository that a service sees at a path, None where it is none."""
    for inside, outside in mounts(name).items():
        if outside.startswith("./") and (path == inside or path.startswith(inside + "/")):
            return ROOT / outside / path[len(inside) :].lstrip("/")
    return None


def in_volume(name: str, path: str) -> bool:
    """Tell whether what a service writes at a path is kept."""
    volumes = {inside for inside, outside in mounts(name).items() if not outside.startswith("./")}
    return any(path == inside or path.startswith(inside + "/") for inside in volumes)


def strings(value: typing.Any) -> Iterator[str]:
    """Yield every text in a configuration, comments left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from strings(list(typing.cast("dict[object, object]", value).values()))
    elif isinstance(value, list):
        for each in typing.cast("list[object]", value):
            yield from strings(each)


def telemetry_port(config: typing.Any) -> int:
    """Return the port at which a collector, or Jaeger, tells about itself."""
    (reader,) = config["service"]["telemetry"]["metrics"]["readers"]
    return reader["pull"]["exporter"]["prometheus"]["port"]


def listening(config: typing.Any) -> set[int]:
    """Return the ports that a configuration opens to other containers."""
    found = {
        int(text.rpartition(":")[2]) for text in strings(config) if text.startswith("0.0.0.0:")
    }
    return found | {telemetry_port(config)}


PORTS = {
    "collector": listening(COLLECTOR),
    "jaeger": listening(JAEGER),
    "prometheus": {9090},
    "grafana": {3000},
}
"""Where each service can be reached; the last two by their images' default."""

HEALTH_PATHS = {
    "collector": "/status",
    "jaeger": "/status",
    "prometheus": "/-/ready",
    "grafana": "/api/health",
}


def published() -> dict[int, tuple[str, int]]:
    """Return the ports of this machine: to the service and the port there."""
    found: dict[int, tuple[str, int]] = {}
    for name, service in SERVICES.items():
        for port in service.get("ports", ()):
            _, outside, inside = port.split(":")
            found[int(outside)] = (name, int(inside))
    return found


def memory(text: str) -> int:
    """Return bytes out of `512M`, `1G`, `400MiB`."""
    number, unit, _ = re.split("([MG])", text)
    return int(number) * {"M": 2**20, "G": 2**30}[unit]


def test_every_published_port_is_bound_to_loopback() -> None:
    """Nothing that has no password is offered to the network."""
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]

    assert ports
    assert all(isinstance(port, str) and port.startswith("127.0.0.1:") for port in ports)
    assert {service.get("network_mode") for service in SERVICES.values()} == {None, "none"}


def test_every_published_port_is_one_that_its_service_opens() -> None:
    """A port of this machine leads to somebody who listens."""
    assert {outside: inside in PORTS[name] for outside, (name, inside) in published().items()} == {
        4317: True,
        4318: True,
        16686: True,
        9090: True,
        3000: True,
    }


@every_service
def test_images_are_pinned_to_a_full_version(name: str) -> None:
    """No image moves from one minor version to the next by itself."""
    assert re.fullmatch(r"[\w.-]+(/[\w.-]+)*:v?\d+\.\d+\.\d+", SERVICES[name]["image"])


@every_service
def test_somebody_asks_each_service_whether_it_is_well(name: str) -> None:
    """`up --wait` waits for an answer of each: its own, by a neighbour, or its end."""
    checks = {
        each: service.get("healthcheck", {}).get("test") for each, service in SERVICES.items()
    }
    asked_from_beside = [
        each
        for each, check in checks.items()
        if check and f"//{name}:" in " ".join(check) and name in SERVICES[each]["depends_on"]
    ]
    ends = [
        each
        for each, service in SERVICES.items()
        if isinstance(service.get("depends_on"), dict)
        and service["depends_on"].get(name) == {"condition": "service_completed_successfully"}
    ]

    assert checks[name] or asked_from_beside or ends


@pytest.mark.parametrize("name", [each for each in SERVICES if "healthcheck" in SERVICES[each]])
def test_a_health_check_asks_where_somebody_listens(name: str) -> None:
    """Its address is a service with that port, and its path the one that service answers."""
    test: list[str] = SERVICES[name]["healthcheck"]["test"]
    url = urllib.parse.urlsplit(test[-1])
    service = name if url.hostname == "127.0.0.1" else url.hostname

    assert test[:2] == ["CMD", "wget"]
    assert service is not None
    assert url.port in PORTS[service]
    assert url.path == HEALTH_PATHS[service]


def test_the_images_without_a_shell_are_asked_from_beside() -> None:
    """The collector's image has nothing but the collector, so that no check can run in it."""
    assert "healthcheck" not in SERVICES["collector"]


@every_service
def test_every_service_has_limits(name: str) -> None:
    """Memory and CPUs are bounded; Docker refuses more CPUs than a machine has."""
    limits = SERVICES[name]["deploy"]["resources"]["limits"]

    assert memory(limits["memory"]) >= 2**24
    assert 0 < float(limits["cpus"]) <= 1
    collects_below = SERVICES[name].get("environment", {}).get("GOMEMLIMIT")
    assert collects_below is None or memory(collects_below) < memory(limits["memory"])


def test_the_limits_add_up_to_what_the_page_says() -> None:
    """All services at their limits take no more memory than docs/production.md asks for."""
    page = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")
    (gibibytes,) = re.findall(r"(\d+) GiB of memory at the\s+very most", page)
    limits = [service["deploy"]["resources"]["limits"]["memory"] for service in SERVICES.values()]

    assert sum(map(memory, limits)) <= int(gibibytes) * 2**30


@every_service
def test_no_service_has_more_rights_than_it_needs(name: str) -> None:
    """Only who gives the volumes away is root, with that right alone and without a network."""
    service = SERVICES[name]

    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    if name == "volume-owner":
        assert service["cap_add"] == ["CHOWN"]
        assert service["network_mode"] == "none"
    else:
        assert "cap_add" not in service
        assert not service.get("user", "").startswith(("0", "root"))


@every_service
def test_logs_are_rotated(name: str) -> None:
    """A container's log does not fill the disk."""
    options = SERVICES[name]["logging"]["options"]

    assert options == {"max-size": "10m", "max-file": "3"}


def test_services_come_back_after_a_reboot() -> None:
    """All but the one that has done its work."""
    restarts = {name: service["restart"] for name, service in SERVICES.items()}

    assert restarts.pop("volume-owner") == "no"
    assert set(restarts.values()) == {"unless-stopped"}


@every_service
def test_every_mounted_file_is_here_and_can_only_be_read(name: str) -> None:
    """Docker makes an empty folder of a file that is missing."""
    files = [each for each in SERVICES[name].get("volumes", ()) if each.startswith("./")]

    for mount in files:
        outside, _, mode = mount.split(":")
        assert (ROOT / outside).exists(), outside
        assert mode == "ro", mount


@pytest.mark.parametrize("name", ["collector", "jaeger", "prometheus"])
def test_a_command_names_a_mounted_configuration(name: str) -> None:
    """`--config` is a file of this repository."""
    (said,) = [each for each in SERVICES[name]["command"] if each.startswith("--config")]

    config = in_repository(name, said.partition("=")[2])

    assert config is not None
    assert config.is_file()


def test_prometheus_finds_its_rules() -> None:
    """Each file that prometheus.yml names is mounted there."""
    for path in PROMETHEUS["rule_files"]:
        file = in_repository("prometheus", path)
        assert file is not None, path
        assert file.is_file(), path


def test_grafana_finds_its_dashboards() -> None:
    """The provider's folder and the home dashboard are mounted, and each dashboard has its uid."""
    folder = in_repository("grafana", PROVIDERS[0]["options"]["path"])
    environment = SERVICES["grafana"]["environment"]
    home = in_repository("grafana", environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])

    assert folder == DASHBOARDS
    assert home == DASHBOARDS / "runs.json"
    files = {path.stem: path.read_text(encoding="utf-8") for path in DASHBOARDS.glob("*.json")}
    assert {name: json.loads(text)["uid"] for name, text in files.items()} == {
        "flow": "pocketflow-flow",
        "models": "pocketflow-models",
        "runs": "pocketflow-runs",
    }


def test_volumes_are_declared_and_used() -> None:
    """Each named volume has its declaration, and each declaration its user."""
    used = {
        outside
        for name in SERVICES
        for outside in mounts(name).values()
        if not outside.startswith("./")
    }

    assert used == set(COMPOSE["volumes"])


def test_what_must_outlive_a_container_lies_in_a_volume() -> None:
    """The collector's queue, Jaeger's spans, Prometheus's samples and Grafana's own."""
    storage = COLLECTOR["extensions"]["file_storage"]
    badger = JAEGER["extensions"]["jaeger_storage"]["backends"]["badger"]["badger"]
    (samples,) = [
        each.partition("=")[2]
        for each in SERVICES["prometheus"]["command"]
        if each.startswith("--storage.tsdb.path")
    ]

    assert in_volume("collector", storage["directory"])
    assert in_volume("collector", storage["compaction"]["directory"])
    assert in_volume("jaeger", badger["directories"]["keys"])
    assert in_volume("jaeger", badger["directories"]["values"])
    assert badger["ephemeral"] is False
    assert in_volume("prometheus", samples)
    assert in_volume("grafana", "/var/lib/grafana")


def test_volumes_belong_to_who_writes_them() -> None:
    """What the images don't bring is given to the user that the services run as, before they do."""
    command, owned = SERVICES["volume-owner"]["command"], mounts("volume-owner")

    assert command[0] == "chown"
    assert set(command[2:]) == set(owned)
    for path, volume in owned.items():
        (name,) = [each for each in SERVICES if mounts(each).get(path) and each != "volume-owner"]
        assert mounts(name)[path] == volume
        assert SERVICES[name]["user"] == command[1]
        assert SERVICES[name]["depends_on"]["volume-owner"] == {
            "condition": "service_completed_successfully"
        }


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (COLLECTOR, {("jaeger", 4317)}),
        (JAEGER, set[tuple[str, int]]()),
        (
            PROMETHEUS,
            {("collector", 8888), ("collector", 8889), ("collector", 8890), ("jaeger", 8888)},
        ),
        (DATA_SOURCES, {("jaeger", 16686), ("prometheus", 9090)}),
    ],
    ids=["collector", "jaeger", "prometheus", "grafana"],
)
def test_addresses_are_services_that_listen_there(
    config: typing.Any, expected: set[tuple[str, int]]
) -> None:
    """What a configuration sends to or reads from exists, with that port."""
    pattern = re.compile(rf"\b({'|'.join(SERVICES)}):(\d+)\b")
    named = {
        (match[1], int(match[2])) for text in strings(config) for match in pattern.finditer(text)
    }

    assert named == expected
    assert all(port in PORTS[name] for name, port in named)


def test_grafana_links_to_addresses_that_are_published() -> None:
    """A link that the browser follows leads to a port of this machine."""
    links = {
        int(match[1])
        for text in strings(DATA_SOURCES)
        for match in re.finditer(r"http://localhost:(\d+)/", text)
    }

    assert {published()[port][0] for port in links} == {"jaeger"}


def test_data_sources_lead_to_each_other() -> None:
    """From an exemplar to its trace, and from a span to its numbers, by uids that exist."""
    sources = {source["uid"]: source for source in DATA_SOURCES}
    exemplars = sources["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]

    assert {uid: source["type"] for uid, source in sources.items()} == {
        "prometheus": "prometheus",
        "jaeger": "jaeger",
    }
    assert {each["name"] for each in exemplars} == {"trace_id"}
    assert [each["datasourceUid"] for each in exemplars if "datasourceUid" in each] == ["jaeger"]
    assert sources["jaeger"]["jsonData"]["tracesToMetrics"]["datasourceUid"] == "prometheus"
    assert "--enable-feature=exemplar-storage" in SERVICES["prometheus"]["command"]


def test_a_span_leads_to_numbers_that_are_recorded() -> None:
    """The queries from a span ask for what recording.yml makes."""
    groups = loaded(DEPLOY / "prometheus" / "recording.yml")["groups"]
    recorded = {rule["record"] for group in groups for rule in group["rules"]}
    (jaeger,) = [source for source in DATA_SOURCES if source["uid"] == "jaeger"]
    queries = [each["query"] for each in jaeger["jsonData"]["tracesToMetrics"]["queries"]]
    asked = {name for query in queries for name in re.findall(r"pocketflow:[\w:]+", query)}

    assert asked
    assert asked <= recorded
    # A single `$` would be taken for a variable of Grafana's own environment.
    ours = re.compile(r"\$\$\{__span\.name\}|\$\$__tags")
    assert all("$" not in ours.sub("", query) for query in queries)


def test_grafana_has_no_account_whose_password_is_known() -> None:
    """It starts without set-up, shows everything and lets nobody change it."""
    environment = SERVICES["grafana"]["environment"]

    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert not [name for name in environment if "PASSWORD" in name]


def test_the_limiter_works_in_percent_of_the_container() -> None:
    """No number of megabytes stands beside the limit and goes its own way."""
    limiter = COLLECTOR["processors"]["memory_limiter"]

    assert 0 < limiter["spike_limit_percentage"] < limiter["limit_percentage"] < 100
    assert "limit_mib" not in limiter


def test_the_collector_that_is_tested_is_the_one_that_runs() -> None:
    """The image has the version of the components that the stack tests are built of."""
    manifest = (DEPLOY / "builder" / "builder.yaml").read_text(encoding="utf-8")
    built = set(re.findall(r"-contrib/\S+ v(\S+)", manifest))

    assert built == {SERVICES["collector"]["image"].partition(":")[2]}


def test_the_jaeger_that_is_tested_is_the_one_that_runs() -> None:
    """The image has the version that scripts/stack_binaries.py builds."""
    script = (ROOT / "scripts" / "stack_binaries.py").read_text(encoding="utf-8")

    assert re.findall(r'^JAEGER_VERSION = "v(.+)"$', script, re.MULTILINE) == [
        SERVICES["jaeger"]["image"].partition(":")[2]
    ]


def test_the_page_about_it_names_what_runs() -> None:
    """docs/production.md has every image, every port and every volume."""
    page = (ROOT / "docs" / "production.md").read_text(encoding="utf-8")

    assert {name for name, service in SERVICES.items() if service["image"] not in page} == set()
    assert {port for port in published() if f"localhost:{port}" not in page} == set()
    assert {volume for volume in COMPOSE["volumes"] if volume not in page} == set()
