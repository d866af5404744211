import { setTimeout as sleep } from 'node:timers/promises'

/** Waits until a condition holds. */
async function until(holds, ms) {
  for (const end = Date.now() + ms; !holds() && Date.now() < end;) await sleep(20)
}

const textOf = (parts) => parts.map(({ text = '' }) => text).join('')

async function step(job, name, ms, work) {
  const late = sleep(ms, undefined, { ref: false }).then(() => {
    throw new Error(`no answer in ${ms} ms`)
  })
  const said = { job, step: name }
  try {
    said.saw = await Promise.race([work(), late])
  } catch (error) {
    said.failed = String(error).slice(0, 300)
  }
  process.stdout.write(`${JSON.stringify(said)}\n`)
  return said.saw !== undefined
}

/** Does every step with every server of the input. `open` gives the client of one job. */
export async function runJobs(open) {
  let input = ''
  for await (const chunk of process.stdin) input += chunk
  for (const job of JSON.parse(input)) {
    const heard = { logs: [], progress: [], updates: [] }
    const peer = open(job, heard)
    const does = (name, ms, work) => step(job.name, name, ms, work)
    if (await does('connect', 20_000, () => peer.connect())) {
      await does('list', 5000, async () =>
        (await peer.listTools())
          .map(({ name }) => name)
          .toSorted()
          .join(),
      )
      await does('call', 5000, async () => textOf(await peer.call('add', { a: 2, b: 3 })))
      await does('work', 8000, async () => {
        const said = textOf(await peer.work())
        await until(() => heard.logs.length > 0 && heard.progress.length === 2, 1000)
        return said
      })
      await does('progress', 1000, async () => heard.progress.join())
      await does('log', 1000, async () => heard.logs.join())
      await does('ask', 8000, async () => textOf(await peer.call('ask', {})))
      await does('read', 5000, async () => textOf(await peer.read()))
      await does('subscribe', 8000, async () => {
        await peer.subscribe()
        await peer.call('change', {})
        await until(() => heard.updates.length > 0, 2000)
        return heard.updates.join()
      })
      await does('prompt', 5000, async () =>
        textOf((await peer.prompt()).map(({ content }) => content)),
      )
    }
    await does('close', 8000, async () => {
      await peer.close()
      return 'closed'
    })
  }
  process.exit(0)
}
