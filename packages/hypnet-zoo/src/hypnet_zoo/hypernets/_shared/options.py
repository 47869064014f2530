"""Options that several hypernetworks share."""

from __future__ import annotations

from typing import Annotated, TypedDict

from pydantic import Field


class ConditionalChunksOption(TypedDict, total=False):
    """The option `conditional_chunks` of hypernetworks that write chunks."""

    conditional_chunks: Annotated[
        bool,
        Field(default=False, description="Each condition has its own chunk embeddings."),
    ]
