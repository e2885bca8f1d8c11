"""A Ray dashboard's job API as a client sees it; `job.json` tells how its job goes, `asked.jsonl` what was asked.

python job_server.py PORT FOLDER
"""

import json
import sys
from pathlib import Path

from aiohttp import web

PORT, FOLDER = int(sys.argv[1]), Path(sys.argv[2])


def told():
    return {"status": "SUCCEEDED", "code": 0, "log": "", "message": ""} | json.loads((FOLDER / "job.json").read_text())


def note(*words):
    with (FOLDER / "asked.jsonl").open("a") as file:
        file.write(json.dumps(words) + "\n")


async def version(request):
    return web.json_response({"version": "4", "ray_version": "2.60.0", "ray_commit": "x", "session_name": "x"})


async def package(request):
    if request.method == "GET":
        return web.Response(status=404)
    name = request.match_info["name"]
    (FOLDER / name).write_bytes(await request.read())
    note("package", name)
    return web.Response()


async def submit(request):
    asked = await request.json()
    if told().get("refuses"):
        return web.Response(status=500, text="no room")
    note("submit", asked)
    return web.json_response({"job_id": asked["submission_id"], "submission_id": asked["submission_id"]})


async def info(request):
    now = told()
    ended = now["status"] in ("SUCCEEDED", "FAILED", "STOPPED")
    answer = {"type": "SUBMISSION", "submission_id": request.match_info["name"], "status": now["status"]}
    answer |= {"message": now["message"], "entrypoint": "x", "driver_exit_code": now["code"] if ended else None}
    return web.json_response(answer)


async def stop(request):
    note("stop", request.match_info["name"])
    (FOLDER / "job.json").write_text(json.dumps(told() | {"status": "STOPPED"}))
    return web.json_response({"stopped": True})


async def tail(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    await socket.send_str(told()["log"])
    await socket.close()
    return socket


app = web.Application(client_max_size=100 * 2**20)
app.router.add_get("/api/version", version)
app.router.add_route("*", "/api/packages/{protocol}/{name}", package)
app.router.add_post("/api/jobs/", submit)
app.router.add_get("/api/jobs/{name}", info)
app.router.add_post("/api/jobs/{name}/stop", stop)
app.router.add_get("/api/jobs/{name}/logs/tail", tail)
web.run_app(app, host="127.0.0.1", port=PORT, print=None)
