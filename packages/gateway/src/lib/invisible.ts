/**
 * Escapes JSON so that nothing acts on a terminal or ends a line. JSON escapes U+0000 to U+001F
 * itself; this adds the other controls, line separators and direction marks.
 */
export function escapeInvisible(json: string): string {
  return json.replaceAll(
    invisible,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/**
 * DEL and C1, soft hyphen, zero-width and direction marks, line and paragraph separators, byte
 * order mark, interlinear marks.
 */
const invisible =
  /[\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g
