"""A setting is a flag, an environment variable, or its default, and always in range."""

from __future__ import annotations

import pytest

from decoder_svc.settings import Settings as DecoderSettings
from encoder_svc.settings import Settings as EncoderSettings
from gateway.settings import Settings as GatewaySettings
from prior_svc.settings import Settings as PriorSettings
from unclip.errors import ConfigurationError
from unclip.serving.channels import resolved
from unclip.serving.settings import ModelSettings, ServerSettings, parse
from unclip.testing.settings import Settings as StubSettings
from unclip.web.settings import Settings as WebSettings


def test_flags_win_over_the_environment_which_wins_over_defaults() -> None:
    environment = {"UNCLIP_PORT": "1000", "UNCLIP_GRACE": "7.5"}
    settings = parse(ServerSettings, ["--port", "2000"], "x", environment)
    assert (settings.port, settings.grace, settings.host) == (2000, 7.5, "127.0.0.1")


def test_a_malformed_variable_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"UNCLIP_PORT must be int; got 'http://10.0.0.1'"):
        parse(ServerSettings, [], "x", {"UNCLIP_PORT": "http://10.0.0.1"})


@pytest.mark.parametrize("link", ["tcp://10.0.0.1:50050", "udp://[fd00::1]:53"])
def test_what_kubernetes_says_of_a_service_called_unclip_is_no_setting(link: str) -> None:
    assert parse(ServerSettings, [], "x", {"UNCLIP_PORT": link}).port == 0


@pytest.mark.parametrize(
    ("host", "listen"),
    [("::", "[::]:7"), ("[::]", "[::]:7"), ("fd00::1", "[fd00::1]:7"), ("0.0.0.0", "0.0.0.0:7"), ("a.b", "a.b:7")],
)
def test_ipv6_is_bracketed_where_it_was_not(host: str, listen: str) -> None:
    assert ServerSettings(host=host, port=7).listen == listen


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--port", "65536"), ("--capacity", "0"), ("--drain", "nan"), ("--grace", "inf"), ("--log-level", "LOUD")],
)
def test_a_value_out_of_range_is_named_with_limit_and_value(flag: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{flag[2:].replace('-', '_')} must be .*; got '?{value}"):
        parse(ModelSettings, [flag, value], "x", {})


def test_services_started_by_hand_find_each_other() -> None:
    gateway = GatewaySettings()
    stages = {"encoder": EncoderSettings(), "prior": PriorSettings(), "decoder": DecoderSettings()}
    for stage, settings in {**stages, "upsampler": stages["decoder"]}.items():
        assert getattr(gateway, stage) == f"{settings.host}:{settings.port}"
    assert WebSettings().gateway == f"{gateway.host}:{gateway.port}"
    assert DecoderSettings().stages == "decode,upsample"


@pytest.mark.parametrize("stages", ["", "prior", "decode,decode", "decode, upsample"])
def test_a_decoder_serves_known_stages_only(stages: str) -> None:
    with pytest.raises(ConfigurationError, match="stages must be"):
        parse(DecoderSettings, ["--stages", stages], "decoder_svc", {})


def test_stubs_have_a_student_where_they_are_told_to() -> None:
    models = [parse(StubSettings, ["--fast", said], "x", {}).model() for said in ("off", "on", "default")]
    assert [(model.fast is None, model.quality) for model in models] == [
        (True, "standard"),
        (False, "standard"),
        (False, "fast"),
    ]
    with pytest.raises(ConfigurationError, match="fast must be off, on or default; got 'yes'"):
        parse(StubSettings, ["--fast", "yes"], "x", {})


@pytest.mark.parametrize("cls", [ServerSettings, ModelSettings, DecoderSettings, GatewaySettings])
def test_help_explains_every_setting(cls: type[ServerSettings], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        parse(cls, ["--help"], "x", {})
    assert stopped.value.code == 0
    shown = capsys.readouterr().out
    for field in cls.__dataclass_fields__.values():
        assert f"--{field.name.replace('_', '-')}" in shown
        assert field.metadata["help"]


@pytest.mark.parametrize("target", ["", "host", "host:0", "host:65536", "http://host:1", "ho st:1", ":1"])
def test_a_target_is_host_and_port(target: str) -> None:
    with pytest.raises(ConfigurationError, match="host:port"):
        resolved(target)


@pytest.mark.parametrize("target", ["localhost:1", "10.0.0.1:50050", "[::1]:1", "dns:///decoder.unclip.svc:50053"])
def test_names_and_addresses_resolve_by_dns(target: str) -> None:
    assert resolved(target).startswith("dns:///")
