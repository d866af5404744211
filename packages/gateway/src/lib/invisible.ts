/**
 * A text of JSON in which nothing acts on a terminal or ends a line for some reader: JSON itself escapes U+0000 to U+001F; the rest of the
 * controls, the line separators and what turns the direction of text are escaped here.
 */
export function escapeInvisible(json: string): string {
  return json.replaceAll(
    invisible,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** DEL and C1, soft hyphen, zero-width and direction marks, line and paragraph separators, byte order mark, interlinear marks. */
const invisible =
  /[\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g
