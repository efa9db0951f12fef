"""The JSON schema of a config, with a definition per table of choices."""

import json
import re

from routing.config.experiment import Config
from routing.config.registries import TABLES
from routing.workflow import choices


def schema() -> dict:
    """Return the JSON schema of a config."""
    text = json.dumps(Config.model_json_schema())
    made = json.loads(re.sub(r'"table": "(\w+)"', r'"$ref": "#/$defs/\1"', text))
    for group, table in TABLES.items():
        made["$defs"][group] = choices.schema(table, f"#/$defs/{group}")
    for key in made["properties"].values():
        if "patternProperties" in key:
            key["additionalProperties"] = False
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | made
