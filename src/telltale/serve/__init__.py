"""The server: web page and REST API over the same scan, done in processes under limits.

A request never decodes anything. It writes what was sent to the disk under a name of ours and puts
a job into an SQLite file; worker processes with limits of memory and time take jobs from there.
"""

from telltale.serve.settings import Settings

__all__ = ["Settings"]
