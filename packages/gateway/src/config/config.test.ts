import { expect, test } from 'vitest'
import { z } from 'zod'
import { ConfigSchema } from './config.ts'

interface Section {
  readonly description?: string
  readonly properties?: Readonly<Record<string, Section>>
}

/** The paths of settings and sections without a description. */
function undescribed({ properties = {} }: Section, prefix = ''): string[] {
  return Object.entries(properties).flatMap(([name, setting]) => [
    ...(setting.description === undefined ? [`${prefix}${name}`] : []),
    ...undescribed(setting, `${prefix}${name}.`),
  ])
}

test('every setting and every section has a description for editors', () => {
  const schema = z.toJSONSchema(ConfigSchema, { io: 'input' }) as Section
  expect(schema.properties).toHaveProperty('edge')
  expect(undescribed(schema)).toEqual([])
})
