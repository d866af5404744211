import { expect, test } from 'vitest'
import { errorTable, type ErrorRow } from './error-table.ts'
import { errorCodes, GatewayError } from './errors.ts'
import { mistakeTable, warningTable } from './mistakes.ts'
import { failureTable } from '../tools/failure.ts'

const rows = Object.entries<ErrorRow>(errorTable)

test('an error shows its own detail where the table exposes it', () => {
  const error = new GatewayError('forbidden', { detail: 'You may not.' })
  expect(error.detail).toBe('You may not.')
})

test('an internal error shows its help in place of its detail', () => {
  const error = new GatewayError('internal', { detail: 'password=x' })
  expect(error.detail).toBe(errorTable.internal.help)
})

test.each(errorCodes)('the error %s without a detail shows the help of its code', (code) => {
  expect(new GatewayError(code).detail).toBe(errorTable[code].help)
})

test('the rows of errors stand in the order of their statuses', () => {
  const statuses = rows.map(([, { status }]) => status)
  expect(statuses).toEqual(statuses.toSorted((a, b) => a - b))
})

test.each(rows.map(([code, { help }]) => [code, help] as const))(
  'the help of %s is at most two sentences that each end',
  (_code, help) => {
    expect(help).toMatch(/^[A-Z][^.]*(?:\.\w[^.]*)*\.(?: [A-Z][^.]*(?:\.\w[^.]*)*\.)?$/)
  },
)

test('every mistake, warning and failure is explained in whole sentences', () => {
  for (const text of Object.values({ ...mistakeTable, ...warningTable, ...failureTable }))
    expect(text).toMatch(/^[A-Z`].*\.$/)
})

test('no failure of a tool has the code of an error of the gateway', () => {
  expect(Object.keys(failureTable).filter((code) => code in errorTable)).toEqual([])
})
