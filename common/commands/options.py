"""Options and arguments that several commands share."""

from typing import Annotated

import typer

ProfileOption = Annotated[
    str | None,
    typer.Option("--profile", help="Scale of the run; default: the word in params.yaml."),
]
ArmOption = Annotated[
    str | None, typer.Option("--arm", help="One arm; default: all, one after another.")
]
WorkersOption = Annotated[
    int, typer.Option(min=1, help="Parallel tuning processes that share the budget of trials.")
]
ExperimentName = Annotated[str, typer.Argument(help="A folder of experiments/.")]
PositionOption = Annotated[
    int, typer.Option(help="Token whose activation is explained; negative: from the end.")
]
PairOption = Annotated[
    str, typer.Option("--ar", help="<experiment>/<arm>/<seed>, released/<name>, or `newest`.")
]
RunArgument = Annotated[str, typer.Argument(help="<experiment>/<arm>/<seed>")]
