/** A copy without an optional member. */
export function without<T extends { readonly [Member in K]?: unknown }, K extends string>(
  value: T,
  member: K,
): T {
  const { [member]: _absent, ...rest } = value
  return rest as T
}
