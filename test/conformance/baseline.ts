/**
 * The checks that no modern client can pass with a legacy server through any gateway. An entry that
 * no run needs fails the tests.
 */
export const toLegacyServer: readonly {
  readonly scenario: string
  readonly check: string
  /** The tool that the check calls. */
  readonly tool: string
  readonly reason: string
}[] = [
  {
    scenario: 'server-stateless',
    check: 'sep-2575-server-rejects-undeclared-capability',
    tool: 'test_missing_capability',
    reason:
      'A legacy server reports a missing capability in the text of its result,' +
      ' so -32021 would be a guess.',
  },
  {
    scenario: 'server-stateless',
    check: 'sep-2575-missing-capability-http-400',
    tool: 'test_missing_capability',
    reason: 'The error above does not exist, and neither does its HTTP status.',
  },
  {
    scenario: 'input-required-result-basic-elicitation',
    check: 'sep-2322-elicitation-incomplete',
    tool: 'test_input_required_result_elicitation',
    reason:
      'The suite looks for the key of a question. A question of a legacy server has an id,' +
      ' but no key.',
  },
  {
    scenario: 'input-required-result-multiple-input-requests',
    check: 'sep-2322-multiple-inputs-incomplete',
    tool: 'test_input_required_result_multiple_inputs',
    reason:
      'A legacy server asks one question after another, so three questions never come together.',
  },
  {
    scenario: 'input-required-result-ignore-extra-params',
    check: 'sep-2322-ignore-unexpected-params',
    tool: 'test_input_required_result_elicitation',
    reason:
      'The suite answers under another key than the gateway gave,' +
      ' so the gateway asks the question again.',
  },
]

const otherProcess =
  'Each session of a legacy server on stdio is a process. The virtual server lists what its own' +
  ' process lists, and the change is that of another.'

/** The checks that a modern client cannot pass where a legacy server on stdio is a member. */
export const toLegacyStdioMember: typeof toLegacyServer = [
  {
    scenario: 'server-stateless',
    check: 'sep-2575-server-sends-tools-list-changed-on-subscription',
    tool: 'test_trigger_tool_change',
    reason: otherProcess,
  },
  {
    scenario: 'server-stateless',
    check: 'sep-2575-server-sends-prompts-list-changed-on-subscription',
    tool: 'test_trigger_prompt_change',
    reason: otherProcess,
  },
]
