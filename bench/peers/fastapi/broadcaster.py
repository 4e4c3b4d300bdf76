"""A peer of the benchmarks: writes each text that is posted to a channel to all sockets that joined it.

The manner of FastAPI's own documentation, a list of sockets and a loop over it, with channels.
"""

from collections import defaultdict

from fastapi import FastAPI, Request, WebSocket, WebSocketDisconnect

app = FastAPI()
channels: defaultdict[str, list[WebSocket]] = defaultdict(list)


@app.websocket("/join/{channel}")
async def join(socket: WebSocket, channel: str) -> None:
    await socket.accept()
    channels[channel].append(socket)
    await socket.send_text("joined")
    try:
        while True:
            await socket.receive_text()
    except WebSocketDisconnect:
        channels[channel].remove(socket)


@app.post("/publish/{channel}")
async def publish(request: Request, channel: str) -> None:
    text = (await request.body()).decode()
    for socket in list(channels[channel]):
        await socket.send_text(text)
