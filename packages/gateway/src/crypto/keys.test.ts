import { expect, test } from 'vitest'
import { deriveKey, deriveNamedKey, findKey, type KeyPurpose } from './keys.ts'

const secret = Buffer.alloc(32, 7)

// An earlier version made these keys. Another value here ends sessions, secrets and identities.
const derived: Readonly<Record<KeyPurpose, string>> = {
  session: 'c7GStTSNnR3GZsMrp-Vp86V_DiXaB4tdR4v9Zac8iMU',
  secrets: '5f4BUEQCAM6QzKPflZIT1hID1Ktw7R_PDDX8DEZLMcc',
  toolFeed: 'U0BbNI0-6MQ5KtRZf1AyiEUy7OPM-vvsxZhIQlhP7VE',
  peerHop: 'wgO2M7CLe7pba2tiCpGt1hi4JLjYKi16HSOIbpwWnT8',
  loopMark: 'vhWXELge_Whef7RWDQNUNNlip_bUEVQznUig9bkHYWY',
  pseudonym: '4y1_YmyoceOamtXvzVHLXfsjZkdM7DQxotMH6Y3cdPU',
  identity: 'bD1scUp1TOBMWnBhsi8lxNa74bI3m6mvkXNk2kN8jBSntj0zqnF-G7qm4daHijMO',
}

test('a secret gives each purpose the same key as in earlier versions', () => {
  for (const [purpose, key] of Object.entries(derived))
    expect(deriveKey(secret, purpose as KeyPurpose).toString('base64url')).toBe(key)
})

test('a key is found by its id alone', () => {
  const [one, two] = [1, 2].map((fill) => deriveNamedKey(Buffer.alloc(32, fill), 'session'))
  if (one === undefined || two === undefined) throw new Error('There are two keys.')

  expect(findKey([one, two], two.id)).toEqual(two.key)
  expect(findKey([one], two.id)).toBeUndefined()
})
