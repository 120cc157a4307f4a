"""The HTTP application."""

from fastapi import FastAPI, Response, status
from fastapi.responses import RedirectResponse

from manager.api.health import Health, Probe, Status


def create_app(probe: Probe) -> FastAPI:
    """Return the application; /healthz answers at once, also while the database still comes up."""
    app = FastAPI(title="Propdesk", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/")
    async def start() -> RedirectResponse:
        """Lead to /healthz, until there is a console."""
        return RedirectResponse("/healthz")

    @app.get("/healthz")
    async def healthz(response: Response) -> Health:
        """Tell whether database and worker are well: 200, or 503 with what is wrong."""
        health = await probe.look()
        if health.status is not Status.OK:
            response.status_code = status.HTTP_503_SERVICE_UNAVAILABLE
        return health

    return app
