import type { Mistake } from '../../core/errors.ts'
import type { Principal } from '../../core/principal.ts'
import type { Resource } from '../../core/resource.ts'
import { mergePatch } from '../../lib/json/merge-patch.ts'
import { tableOf } from '../../lib/json/table-of.ts'
import { maskMistakes } from '../kinds/kept-secrets.ts'
import type { Kind } from '../kinds/kind.ts'
import { givesReference } from '../kinds/workload-fields.ts'
import { renames, validate, type Warning } from '../validation.ts'
import type { CodeRules } from './code-rules.ts'

/** The stored form of a body. */
export interface ReadBody<R extends Resource> {
  readonly spec: R['spec']
  readonly warnings: readonly Warning[]
}

/**
 * Reads bodies of requests into specs to store: finds all their mistakes, and binds their
 * references to secrets. Its methods throw `validation_failed`.
 */
export class BodyReader<R extends Resource, Input extends { readonly name: string }> {
  readonly #kind: Kind<R, Input>
  readonly #code: Pick<CodeRules<R>, 'bound'>

  constructor(kind: Kind<R, Input>, code: Pick<CodeRules<R>, 'bound'>) {
    this.#kind = kind
    this.#code = code
  }

  async created(
    principal: Principal,
    body: unknown,
  ): Promise<ReadBody<R> & { readonly name: string }> {
    const { value, warnings } = await this.#validate(principal, body, maskMistakes(body, undefined))
    const spec = await this.#code.bound(this.#kind.spec(value, undefined))
    return { name: value.name, spec, warnings }
  }

  async replaced(principal: Principal, body: unknown, stored: R): Promise<ReadBody<R>> {
    const { value, warnings } = await this.#validate(principal, body, [
      ...renames(stored.name, body),
      ...maskMistakes(body, stored),
    ])
    return { spec: await this.#code.bound(this.#kind.spec(value, stored)), warnings }
  }

  async patched(principal: Principal, patch: unknown, stored: R): Promise<ReadBody<R>> {
    const { warnings } = await validate(this.#kind.patch, patch, () => [
      ...renames(stored.name, patch),
      ...maskMistakes(patch, stored),
    ])
    const merged = await this.#validate(
      principal,
      mergePatch(this.#kind.inputOf(stored, patch), patch),
      [],
    )

    // Bind only references that the patch gives. Others keep the secrets that they referred to.
    const spec = await this.#code.bound(this.#kind.spec(merged.value, stored), (pointer) =>
      givesReference(patch, pointer),
    )
    return { spec, warnings: distinct([...warnings, ...merged.warnings]) }
  }

  async #validate(
    principal: Principal,
    body: unknown,
    more: readonly Mistake[],
  ): Promise<{ readonly value: Input; readonly warnings: readonly Warning[] }> {
    const { value, warnings } = await this.#kind.read(body, async () => [
      ...(await this.#kind.mistakes(body, principal)),
      ...more,
    ])
    return { value, warnings: [...warnings, ...this.#kind.warnings(value)] }
  }
}

/** True if a patch sends a field that decides which code runs. */
export function givesCode(patch: unknown): boolean {
  const members = ['imageName', 'imageVersion', 'environmentVariables', 'endpoint']
  return members.some((member) => Object.hasOwn(tableOf(patch), member))
}

function distinct(warnings: readonly Warning[]): Warning[] {
  return [
    ...new Map(warnings.map((warning) => [`${warning.pointer} ${warning.code}`, warning])).values(),
  ]
}
