"""The API's rows for the machine's jobs."""

from __future__ import annotations

from typing import Final

from valija.apps.api import job_models as shapes
from valija.apps.api import job_operations as jobs
from valija.apps.api.calls import NUMBER_LIMIT, Choice, Number, Route
from valija.domain.api_token import Scope
from valija.domain.job import JobKind, JobStateName

JOB_ROUTES: Final[tuple[Route, ...]] = (
    Route(
        "GET",
        "/jobs",
        jobs.list_jobs,
        "List the machine's jobs, latest first",
        list[shapes.JobView],
        scope=Scope.MAIL,
        query=(
            Choice("kind", "only of this kind", tuple(kind.value for kind in JobKind)),
            Choice("state", "only in this state", tuple(state.value for state in JobStateName)),
            Number("before", "only with smaller numbers", 0, NUMBER_LIMIT, default=0),
            Number("limit", "how many at the most", 1, 500, default=50),
        ),
    ),
    Route("GET", "/jobs/{id}", jobs.show_job, "Show a job and its history", shapes.JobHistoryView, scope=Scope.MAIL),
    Route(
        "GET",
        "/jobs/{id}/picture",
        jobs.show_picture,
        "Show the picture of a job's first page",
        None,
        scope=Scope.MAIL,
        media_type="image/png",
    ),
    Route(
        "POST",
        "/jobs/{id}/cancel",
        jobs.cancel_job,
        "Cancel a job",
        shapes.JobHistoryView,
        scope=Scope.MAIL,
        refusals=(400,),
    ),
)
