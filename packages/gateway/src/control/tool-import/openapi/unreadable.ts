import type { ImportRefusalCode } from '../../../core/mistakes.ts'

/** A part of a document that the gateway cannot make a tool of, and the reason. */
export class Unreadable extends Error {
  override readonly name = 'Unreadable'
  readonly code: ImportRefusalCode

  constructor(code: ImportRefusalCode, message: string) {
    super(message)
    this.code = code
  }
}
