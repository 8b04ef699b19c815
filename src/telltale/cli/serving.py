"""``telltale serve``: the web page and the REST API."""

import socket
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer


def serve(  # noqa: PLR0913  # an option each
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.")] = 8000,
    token: Annotated[
        str,
        typer.Option(
            envvar="TELLTALE_TOKEN",
            help="What clients must show; made up unless only this machine can reach the server.",
        ),
    ] = "",
    folder: Annotated[
        Path, typer.Option(help="For uploads, reports and the history.", metavar="FOLDER")
    ] = Path("telltale-server"),
    workers: Annotated[
        int | None, typer.Option(help="Scans at once.", show_default="the cores")
    ] = None,
    queue: Annotated[int, typer.Option(help="Files that may wait.")] = 200,
    upload_mb: Annotated[int, typer.Option(help="Megabytes of one request.")] = 500,
    memory_mb: Annotated[int, typer.Option(help="Megabytes that one scan may take.")] = 3000,
    seconds: Annotated[float, typer.Option(help="Seconds that one scan may take.")] = 600.0,
    keep: Annotated[
        bool, typer.Option("--keep/--forget", help="Keep what was sent after its scan.")
    ] = True,
    survival: Annotated[
        bool, typer.Option("--survival/--no-survival", help="Ask again after degradations.")
    ] = True,
) -> None:
    """Serve the web page and the REST API until Ctrl-C.

    Each scan runs in a process of its own under limits, so that a hostile file cannot take the
    server down. A server that was killed goes on with its jobs when it is started again.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn
    except ModuleNotFoundError as error:
        raise ValueError(
            f"the server needs {error.name}: pip install 'telltale-vision[serve]'"
        ) from None

    from telltale.scan import cores
    from telltale.serve.app import create_app
    from telltale.serve.settings import MEGABYTE, Settings, is_loopback, new_token

    made_up = not token and not is_loopback(host)
    settings = Settings(
        folder,
        host=host,
        port=port,
        token=new_token() if made_up else token,
        workers=cores() if workers is None else workers,
        queue=queue,
        upload=upload_mb * MEGABYTE,
        memory=memory_mb * MEGABYTE,
        seconds=seconds,
        keep_uploads=keep,
        survival=survival,
    )

    class Server(uvicorn.Server):
        async def startup(self, sockets: "list[socket.socket] | None" = None) -> None:
            await super().startup(sockets)
            at = self.servers[0].sockets[0].getsockname()
            where = f"[{at[0]}]" if ":" in at[0] else at[0]
            typer.echo(f"Telltale is at http://{where}:{at[1]}/ (Ctrl-C ends it)")
            if made_up:
                typer.echo(f"Its token is {settings.token}")

    config = uvicorn.Config(
        create_app(settings),
        host=host,
        port=port,
        log_level="warning",
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=10,
    )
    with suppress(KeyboardInterrupt):  # the way to end it, after all is closed
        Server(config).run()
