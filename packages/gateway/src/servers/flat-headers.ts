import { canonicalName } from '../lib/http/header-names.ts'

/** Headers as undici takes them: name, value, name, value. */
export class FlatHeaders {
  readonly #flat: readonly string[]

  constructor(flat: readonly string[]) {
    this.#flat = flat
  }

  /**
   * The values of a name, in any spelling that servers may take for it (RFC 3875 section 4.1.18).
   */
  all(name: string): string[] {
    return this.#flat.filter(
      (_, index) => index % 2 === 1 && canonicalName(this.#flat[index - 1] as string) === name,
    )
  }

  get(name: string): string | undefined {
    return this.all(name)[0]
  }

  without(drops: (name: string) => boolean): string[] {
    return this.#flat.filter(
      (_, index) => !drops(canonicalName(this.#flat[index - (index % 2)] as string)),
    )
  }
}
