"""Writes what the chart accepts under ``settings`` into values.schema.json, from the services' own settings classes.

``python -m deploy.settings_schema`` after a setting was added or changed; a test compares.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from decoder_svc.settings import Settings as DecoderSettings
from encoder_svc.settings import Settings as EncoderSettings
from gateway.settings import Settings as GatewaySettings
from prior_svc.settings import Settings as PriorSettings
from unclip.serving.settings import ProcessSettings, ServerSettings
from unclip.web.settings import Settings as WebSettings

SCHEMA = Path(__file__).parent / "helm" / "unclip" / "values.schema.json"
SERVICES: Mapping[str, type[ServerSettings]] = {
    "gateway": GatewaySettings,
    "encoder": EncoderSettings,
    "prior": PriorSettings,
    "decoder": DecoderSettings,
    "upsampler": DecoderSettings,
}
# Beside them, what speaks HTTP; it takes no part in what those have alike.
ALL: Mapping[str, type[ProcessSettings]] = {**SERVICES, "web": WebSettings}
# Decided by the chart's own values; what is named here cannot be set beside them.
MANAGED = frozenset(
    [
        *("host", "port", "address_file", "metrics", "log_level", "log_format", "drain", "grace", "health_listen"),
        *("checkpoint", "device", "threads", "stages", "encoder", "prior", "decoder", "upsampler", "reflection"),
        *("tls_cert", "tls_key", "tls_ca", "tls_mode", "allowed_identities", "allowed_identities_file", "api_keys"),
        *("stage_tls_ca", "stage_tls_cert", "stage_tls_key", "c2pa_certificate", "c2pa_key"),
        *("gateway", "gateway_tls_ca", "gateway_tls_cert", "gateway_tls_key"),
    ]
)
TYPES = {int: "integer", float: "number", str: "string", bool: "boolean"}


def settings_schema(cls: type[ProcessSettings]) -> dict[str, Any]:
    """JSON schema of the settings of one service that a chart's user may choose."""
    hints, properties = get_type_hints(cls), {}
    for field in sorted(dataclasses.fields(cls), key=lambda field: field.name):
        if field.name in MANAGED:
            continue
        low, high = field.metadata.get("low"), field.metadata.get("high")
        limits = {} if low is None else {"minimum": low, "maximum": high}
        about = f"{field.metadata['help']} (default {field.default!r})"
        properties[field.name] = {"description": about, "type": TYPES[hints[field.name]], **limits}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def shared_schema(classes: Iterable[type[ServerSettings]]) -> dict[str, Any]:
    """JSON schema of the settings that several services have alike; their defaults may differ."""
    schemas = [settings_schema(cls)["properties"] for cls in classes]
    shared = set.intersection(*(set(schema) for schema in schemas))
    ranges = {name: {key: value for key, value in schemas[0][name].items() if key != "description"} for name in shared}
    return {"type": "object", "additionalProperties": False, "properties": dict(sorted(ranges.items()))}


def filled(schema: dict[str, Any]) -> dict[str, Any]:
    """The chart's schema with its settings as the services have them now."""
    made = {f"{name}Settings": settings_schema(cls) for name, cls in ALL.items()}
    made["commonSettings"] = shared_schema(SERVICES.values())
    made["stageSettings"] = shared_schema(cls for name, cls in SERVICES.items() if name != "gateway")
    return {**schema, "$defs": {**schema["$defs"], **made}}


def main() -> None:
    """Rewrites the file."""
    SCHEMA.write_text(json.dumps(filled(json.loads(SCHEMA.read_text())), indent=2) + "\n")


if __name__ == "__main__":
    main()
