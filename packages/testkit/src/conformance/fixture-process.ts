import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { hasEnded } from '../has-ended.ts'
import type { Probe } from './hostile-behaviours.ts'

export type Era = 'legacy' | 'modern' | 'dual'

const programAt = (name: string): string =>
  fileURLToPath(new URL(`../../dist/conformance/${name}.js`, import.meta.url))

/**
 * The eras of a hostile server: both, only the modern one, or what its answer to a probe implies.
 */
export type HostileKind = Probe | 'both' | 'modern_only'

const wordsOf = (kind: HostileKind): readonly string[] =>
  kind === 'both' ? [] : kind === 'modern_only' ? ['--modern-only'] : ['--probe', kind]

/** Command lines of the fixtures that speak on stdin and stdout. */
export const stdioFixtures = {
  conformance: (era: Era): readonly string[] => [
    process.execPath,
    programAt('fixture-server'),
    '--era',
    era,
    '--transport',
    'stdio',
  ],
  hostile: (kind: HostileKind = 'both'): readonly string[] => [
    process.execPath,
    programAt('hostile-stdio-server'),
    ...wordsOf(kind),
  ],
}

/** A fixture that listens, as a separate process on a free port. Disposing ends the process. */
export class FixtureProcess implements AsyncDisposable {
  readonly url: string
  readonly #child: ChildProcess

  private constructor(child: ChildProcess, url: string) {
    this.#child = child
    this.url = url
  }

  /**
   * The conformance fixture for one era or both. Without the guard it accepts any `Host` and
   * `Origin`.
   */
  static conformance(
    era: Era,
    options: { readonly unguarded?: boolean } = {},
  ): Promise<FixtureProcess> {
    return FixtureProcess.#start('fixture-server', [
      '--era',
      era,
      ...(options.unguarded === true ? ['--unguarded'] : []),
    ])
  }

  /**
   * The server that breaks the rules on command. Its kind says how it answers probes of its era.
   */
  static hostile(kind: HostileKind = 'both'): Promise<FixtureProcess> {
    return FixtureProcess.#start('hostile-http-server', wordsOf(kind))
  }

  static async #start(program: string, words: readonly string[]): Promise<FixtureProcess> {
    const child = spawn(process.execPath, [programAt(program), ...words], {
      env: { ...process.env, HOST: '127.0.0.1', PORT: '0' },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const exited = once(child, 'exit').then(([code]) => {
      throw new Error(`${program} ended with ${code} before it listened`)
    })
    const [url] = (await Promise.race([
      once(child.stdout.setEncoding('utf8'), 'data'),
      exited,
    ])) as [string]
    exited.catch(() => undefined)
    return new FixtureProcess(child, url.trim())
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (hasEnded(this.#child)) return
    const exit = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await exit
  }
}
