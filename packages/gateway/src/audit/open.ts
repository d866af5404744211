import { join } from 'node:path'
import { monotonicNow } from '../lib/clock.ts'
import type { AuditSinkConfig } from '../config/config.ts'
import type { Log } from '../telemetry/log.ts'
import { Audit } from './audit.ts'
import { FileSink } from './file-sink.ts'
import { Journal, type AuditSink } from './journal.ts'
import { OtlpSink } from './otlp-sink.ts'
import { stdoutSink } from './stdout-sink.ts'

export interface OpenAuditOptions {
  readonly sinks: readonly AuditSinkConfig[]
  readonly queueRecords: number
  readonly dataDir: string
  /** Name of this process. */
  readonly instance: string
  readonly version: string
  readonly log: Log
  readonly now: () => number
}

/** Opens all sinks, and begins each log with a start record. */
export async function openAudit({
  sinks,
  queueRecords,
  dataDir,
  instance,
  version,
  log,
  now,
}: OpenAuditOptions): Promise<Audit> {
  const openSink = async (sink: AuditSinkConfig): Promise<AuditSink> => {
    switch (sink.type) {
      case 'file':
        return FileSink.open({ ...sink, path: sink.path ?? join(dataDir, 'audit.log') })
      case 'stdout':
        return stdoutSink()
      case 'otlp':
        return new OtlpSink({ ...sink, instance, version })
    }
  }

  const journals: Journal[] = []
  for (const config of sinks) {
    const sink = await openSink(config)
    const journal = new Journal({
      sink,
      capacity: queueRecords,
      now: () => new Date(now()),
      troubled: (name, err) =>
        log.error(
          { sink: name, err },
          'the audit log cannot be written; records wait, and beyond audit.queueRecords are lost',
        ),
      recovered: (name, lost) => log.warn({ sink: name, lost }, 'the audit log is written again'),
      losing: (name, lost) => log.error({ sink: name, lost }, 'records of the audit log are lost'),
      retry: { firstMs: 100, maxMs: 5000 },
      flushMs: 5000,
    })

    journal.add({ type: 'start', gateway: instance, version, ...sink.found })
    journals.push(journal)
  }

  return new Audit({ journals, gatherMs: 10_000, now: monotonicNow })
}
