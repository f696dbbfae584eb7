"""The page that plays a device: what it would do, stage by stage; a test page is sent only to who is named."""

from __future__ import annotations

from starlette.responses import Response

from valija.apps.api.device_test_operations import show_stages
from valija.apps.web.device_views import BASE, crumbs_of, device_of
from valija.apps.web.visit import Visit
from valija.domain.errors import InvalidFields
from valija.domain.text import N_
from valija.services.device_test import Play, Played


async def test_device(visit: Visit) -> Response:
    """Play the device as its policy says."""
    form = await visit.form()
    device, to = device_of(visit), form.get("to", "").strip()
    problem, played = "", Played()
    try:
        played = await visit.machine.device_test.run(device.login, Play(to=to, language=visit.language))
    except InvalidFields as error:
        problem = visit.views.problem(error).problems[0].problem
    return await visit.render(
        "device_test.html",
        422 if problem else 200,
        device=device,
        to=to,
        problem=problem,
        passed=played.passed,
        stages=show_stages(played, visit.text),
        base=f"{BASE}/{device.login}",
        crumbs=crumbs_of(visit, (device.name, f"{BASE}/{device.login}"), (visit.text(N_("Device test")), "")),
    )
