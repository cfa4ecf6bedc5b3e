"""``chainwatch backfill``: queue a range for the chain's writer, or be the writer while there is none."""

import random

from rich.console import Console
from rich.progress import Progress

from chainwatch import adapters
from chainwatch.adapters.base import Services
from chainwatch.clock import SystemClock
from chainwatch.config.networks import canonical_code
from chainwatch.config.settings import Settings
from chainwatch.errors import Misconfigured, Transient
from chainwatch.ledger import leases, rescan
from chainwatch.ledger.apply import held
from chainwatch.ledger.store import Store
from chainwatch.metrics import Metrics
from chainwatch.parts import contexts, holder_name, open_issuer, open_store
from chainwatch.watcher import Watcher

POLL_S = 0.5
PATIENCE_S = 30.0
"""How long the chain's writer may show no progress before we say so."""


async def scan_again(settings: Settings, chain: str, first: int, last: int | None) -> rescan.Job:
    """Scan ``first..last`` (None: up to the cursor) again; return the finished job."""
    code = canonical_code(chain)
    if last is not None and last < first:
        raise Misconfigured(f"nothing to scan: --to {last} lies before --from {first}")
    store = open_store(settings)
    clock = SystemClock()
    try:
        holder = await store.read(leases.holder_of, f"chain:{code}", clock.now_ms())
        if holder is None and code not in settings.chains:
            raise Misconfigured(f"{code} is not configured and no daemon follows it")
        cursor = (await store.read(held, code)).cursor
        if cursor is None:
            raise Misconfigured(f"{code} was never followed: nothing to scan again")
        top = cursor.height if last is None else min(last, cursor.height)
        if top < first:
            raise Misconfigured(f"nothing to scan: {code} has been read up to {cursor.height}")
        job_id = await store.write(rescan.queue, code, first, top, clock.now_ms())
        if holder is not None:
            return await _watch(store, clock, job_id, None)
        context = contexts(settings, open_issuer(settings))[code]
        metrics = Metrics(clock)
        rng = random.SystemRandom()
        source = adapters.open_source(context.spec, Services(clock=clock, random=rng, observer=metrics))
        watcher = Watcher(context, source, store, clock=clock, rng=rng, reports=metrics, holder=holder_name())
        await source.open()
        try:
            return await _watch(store, clock, job_id, watcher)
        finally:
            await watcher.stop()
    finally:
        store.close()


async def _watch(store: Store, clock: SystemClock, job_id: int, watcher: Watcher | None) -> rescan.Job:
    """Follow a job to its end, working it off ourselves when we are the writer."""
    job = await store.read(rescan.job, job_id)
    seen, since = job.next_height, clock.monotonic()
    with Progress(console=Console(stderr=True), disable=not Console(stderr=True).is_terminal) as progress:
        bar = progress.add_task(f"{job.chain} again", total=job.last_height - job.first_height + 1)
        while job.done_ms is None:
            if watcher is not None:
                await watcher.poll()
            else:
                await clock.sleep(POLL_S)
            job = await store.read(rescan.job, job_id)
            progress.update(bar, completed=job.next_height - job.first_height)
            if job.next_height != seen:
                seen, since = job.next_height, clock.monotonic()
            elif clock.monotonic() - since > PATIENCE_S:
                why = watcher.condition.reason if watcher is not None else ""
                raise Transient(f"{job.chain}: {why or 'nobody works on the range'}; it stays queued")
    return job
