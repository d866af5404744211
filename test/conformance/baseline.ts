/**
 * What a modern client cannot have of a legacy server, check by check, whatever stands between them. An entry that no run needs any more
 * fails the tests.
 */
export const toLegacyServer: readonly {
  readonly scenario: string
  readonly check: string
  readonly reason: string
}[] = [
  {
    scenario: 'server-stateless',
    check: 'sep-2575-server-rejects-undeclared-capability',
    reason:
      'A legacy server says in words, in the result of its tool, that it lacks a capability of the client; -32021 could only be guessed from them.',
  },
  {
    scenario: 'server-stateless',
    check: 'sep-2575-missing-capability-http-400',
    reason: 'The HTTP status of the error above, which there is not.',
  },
  {
    scenario: 'input-required-result-basic-elicitation',
    check: 'sep-2322-elicitation-incomplete',
    reason:
      'The suite looks for the key that the server gave its question. A question of a legacy server has an id, but no key.',
  },
  {
    scenario: 'input-required-result-multiple-input-requests',
    check: 'sep-2322-multiple-inputs-incomplete',
    reason:
      'A legacy server asks one question after another, so that three at once never come together.',
  },
  {
    scenario: 'input-required-result-ignore-extra-params',
    check: 'sep-2322-ignore-unexpected-params',
    reason:
      'The suite answers under the key that the server gave its question, which is another here; the answer counts as missing, and it is asked again.',
  },
]
