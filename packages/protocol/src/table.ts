/**
 * Values by id, which come and go with each message. Not a Map: V8 links the old table of a rebuilt
 * Map to the new one, so one tenured table keeps all later entries until a full collection.
 */
export class Table<T> {
  #entries: Record<string, T> = Object.create(null) as Record<string, T>
  #size = 0

  get size(): number {
    return this.#size
  }

  get(id: string): T | undefined {
    // The prefix matters: names that look like indices would make the object a sparse array.
    return this.#entries[`.${id}`]
  }

  set(id: string, thing: T): void {
    const name = `.${id}`
    if (this.#entries[name] === undefined) this.#size += 1
    this.#entries[name] = thing
  }

  delete(id: string): boolean {
    const name = `.${id}`
    if (this.#entries[name] === undefined) return false
    this.#size -= 1
    return delete this.#entries[name]
  }

  keys(): string[] {
    return Object.keys(this.#entries).map((name) => name.slice(1))
  }

  values(): T[] {
    return Object.values(this.#entries)
  }

  /** A snapshot: later changes to the table do not affect it. */
  entries(): [id: string, thing: T][] {
    return Object.entries(this.#entries).map(([name, thing]) => [name.slice(1), thing])
  }

  clear(): void {
    this.#entries = Object.create(null) as Record<string, T>
    this.#size = 0
  }
}

/** A `Table` with objects in place of ids. */
export class ObjectTable<K extends object, T> {
  readonly #things = new Table<T>()
  #ids = new WeakMap<K, string>()
  #next = 0

  get(object: K): T | undefined {
    const id = this.#ids.get(object)
    return id === undefined ? undefined : this.#things.get(id)
  }

  set(object: K, thing: T): void {
    let id = this.#ids.get(object)
    if (id === undefined) this.#ids.set(object, (id = String((this.#next += 1))))
    this.#things.set(id, thing)
  }

  delete(object: K): boolean {
    const id = this.#ids.get(object)
    return id !== undefined && this.#ids.delete(object) && this.#things.delete(id)
  }

  values(): T[] {
    return this.#things.values()
  }

  clear(): void {
    this.#things.clear()
    this.#ids = new WeakMap()
  }
}

/** The place of a thing in a `Bag`. */
export interface Slot<T> {
  readonly thing: T
  place: number
}

/**
 * Things without ids, which come and go in any order. Cheaper than a table, because V8 keeps each
 * id of a table as a name, and than a `Map`, for the reason above.
 */
export class Bag<T> {
  readonly #slots: Slot<T>[] = []

  get size(): number {
    return this.#slots.length
  }

  add(thing: T): Slot<T> {
    const slot = { thing, place: this.#slots.length }
    this.#slots.push(slot)
    return slot
  }

  has(slot: Slot<T>): boolean {
    return this.#slots[slot.place] === slot
  }

  delete(slot: Slot<T>): boolean {
    if (!this.has(slot)) return false
    const last = this.#slots.pop()
    if (last === undefined || last === slot) return true
    this.#slots[slot.place] = last
    last.place = slot.place
    return true
  }

  /** Looks at each thing, so it is for rare events. */
  find(fits: (thing: T) => boolean): Slot<T> | undefined {
    return this.#slots.find(({ thing }) => fits(thing))
  }

  /** A snapshot: later changes to the bag do not affect it. */
  values(): T[] {
    return this.#slots.map(({ thing }) => thing)
  }
}
