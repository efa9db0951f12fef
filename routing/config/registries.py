"""All tables of choices of the config, by group, and the type of a key that holds a choice.

To add a table, give it a row in TABLES and a key in one of `routing.config.sections`. To add a
choice, give it a row in its own table, in the module that is imported here.
"""

from typing import Annotated, Any

from pydantic.functional_validators import PlainValidator
from pydantic.json_schema import WithJsonSchema

from routing.data.sources import SOURCES
from routing.ensemble.guidance import GUIDANCE
from routing.ensemble.objectives import OBJECTIVES
from routing.ensemble.policies import POLICIES
from routing.ensemble.routers import ROUTERS as TRAINING_FREE
from routing.figures.registry import FIGURES
from routing.flow.samplers import SAMPLERS
from routing.loading.feature_encoders.registry import ENCODERS
from routing.metrics.registry import METRICS
from routing.pretrained.autoencoders import AUTOENCODERS
from routing.pretrained.text_encoders import TEXT_ENCODERS
from routing.stages.classifier import CLASSIFIERS
from routing.stages.experts import EXPERTS
from routing.stages.partition import METHODS
from routing.stages.router import LEARNED
from routing.workflow import choices

ROUTERS = TRAINING_FREE | LEARNED
TABLES = {
    "sources": SOURCES,
    "autoencoders": AUTOENCODERS,
    "text_encoders": TEXT_ENCODERS,
    "encoders": ENCODERS,
    "partitions": METHODS,
    "experts": EXPERTS,
    "routers": ROUTERS,
    "objectives": OBJECTIVES,
    "policies": POLICIES,
    "guidances": GUIDANCE,
    "samplers": SAMPLERS,
    "classifiers": CLASSIFIERS,
    "metrics": METRICS,
    "figures": FIGURES,
}


def choice(group: str) -> Any:
    """Return the type of a key that holds a choice {name: ..., options} of the table `group`."""
    table = choices.with_plugins(group, TABLES[group])
    return Annotated[
        dict,
        # `routing.config.messages` replaces @ by the path of the key.
        PlainValidator(lambda value: choices.resolve(table, value, "@")),
        # `routing.config.schema` replaces this by a reference to the definition of the table.
        WithJsonSchema({"table": group}),
    ]
