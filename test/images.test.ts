import { expect, test } from 'vitest'
import { imagesNamed, projectImages } from '../scripts/images.ts'

test('`npm run images` builds every image, or only those that are named', () => {
  const named = imagesNamed(['mcp-proxy', 'mcp-gateway']).map(({ target }) => target)

  expect(imagesNamed([])).toEqual(projectImages)
  expect(named).toEqual(['mcp-proxy', 'mcp-gateway'])
})

test('`npm run images` names the existing images when one does not exist', () => {
  expect(() => imagesNamed(['gateway'])).toThrow(
    "There is no image 'gateway'. There are: mcp-gateway, tool-gateway, mcp-proxy," +
      ' mcp-example, weather-tool.',
  )
})
