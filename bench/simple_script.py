"""A simple script, as written in an afternoon: `python -m bench.simple_script URL KEY`.

httpx, a semaphore, a retry on 429 and 5xx, and a poll loop for each CVM. The script knows no rate limit, keeps no log,
and reads the status of every CVM in a request of its own.
"""

import asyncio
import sys

import httpx

AT_ONCE = 20
POLL_SECONDS = 2.0
_TOO_MANY, _SERVER_ERROR = 429, 500


async def ask(client: httpx.AsyncClient, slots: asyncio.Semaphore, method: str, path: str) -> httpx.Response:
    """Send a request until the answer is neither 429 nor 5xx."""
    while True:
        async with slots:
            response = await client.request(method, path)
        if response.status_code != _TOO_MANY and response.status_code < _SERVER_ERROR:
            response.raise_for_status()
            return response
        await asyncio.sleep(float(response.headers.get("retry-after", 1)))


async def stop(client: httpx.AsyncClient, slots: asyncio.Semaphore, cvm: str) -> None:
    """Stop one CVM, and wait until the CVM is down."""
    await ask(client, slots, "POST", f"/cvms/{cvm}/stop")
    while True:
        await asyncio.sleep(POLL_SECONDS)
        response = await ask(client, slots, "GET", f"/cvms/{cvm}/state")
        if response.json()["status"] in {"stopped", "exited"}:
            return


async def main(url: str, key: str) -> None:
    """Stop every CVM of the workspace."""
    headers = {"X-API-Key": key, "X-Phala-Version": "2026-06-23"}
    slots = asyncio.Semaphore(AT_ONCE)
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30, trust_env=False) as client:
        cvms: list[str] = []
        page, pages = 1, 1
        while page <= pages:
            body = (await ask(client, slots, "GET", f"/cvms/paginated?page={page}&page_size=100")).json()
            cvms += [item["id"] for item in body["items"]]
            page, pages = page + 1, body["pages"]
        await asyncio.gather(*(stop(client, slots, cvm) for cvm in cvms))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
