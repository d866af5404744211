import type { Mistake } from '../../core/errors.ts'
import { Inputs, listOf } from './inputs.ts'
import { packageFields } from './packages.ts'
import { answerTo, type Answers, type Source } from './source.ts'

/** The id by which a caller chooses among several packages and remotes. */
const choiceId = 'use'

type Table = Readonly<Record<string, unknown>>

/** Reads a `server.json`. Its inputs become placeholders, as those of clients' files. */
export function readServerJson(document: Table, answers: Answers): Source {
  const name = String(document['name'])
  const entry = name.slice(name.indexOf('/') + 1)
  const { description } = document
  const inputs = new Inputs(answers)
  const offers = offersOf(document)
  const chosen = answerTo(answers, choiceId)
  const wanted = offers.length === 1 ? offers[0] : offers.find(({ title }) => title === chosen)

  const asked = inputs.asked
  const about = typeof description === 'string' ? { description } : {}
  const source = { entry, pointer: '', asked, ...about }
  if (wanted === undefined) {
    const choices = offers.map(({ title }) => title)
    asked.set(choiceId, { secret: false, choices, description: 'Which of them to import.' })
    return { ...source, fields: { choose: choiceId } }
  }
  const { fields, mistakes } = wanted.read(inputs)
  return { ...source, fields, mistakes: [...mistakes, ...inputs.mistakes] }
}

interface Offer {
  readonly title: string
  readonly read: (inputs: Inputs) => { readonly fields: Table; readonly mistakes: Mistake[] }
}

/** The remotes and packages, with titles that tell them apart. */
function offersOf({ packages, remotes }: Table): Offer[] {
  const offers = [
    ...listOf(remotes).map((remote, index): Offer => ({
      title: `${String(remote['type'])} ${String(remote['url'])}`,
      read: (inputs) => remoteFields(remote, `/remotes/${index}`, inputs),
    })),
    ...listOf(packages).map((each, index): Offer => ({
      title: `${String(each['registryType'])} ${String(each['identifier'])}`,
      read: (inputs) => packageFields(each, `/packages/${index}`, inputs),
    })),
  ]
  const titles = offers.map(({ title }) => title)
  return offers.map((offer, index) =>
    titles.indexOf(offer.title) === index ? offer : { ...offer, title: `${offer.title} #${index}` },
  )
}

function remoteFields(remote: Table, pointer: string, inputs: Inputs) {
  const url = inputs.withVariables(String(remote['url']), remote['variables'])
  const headers = listOf(remote['headers']).flatMap((header): [string, string][] => {
    const name = String(header['name'])
    const text = inputs.text(header, `header:${name}`, pointer)
    return text === undefined ? [] : [[name, text]]
  })
  const fields = { type: remote['type'], url, headers: Object.fromEntries(headers) }
  return { fields, mistakes: [] }
}
