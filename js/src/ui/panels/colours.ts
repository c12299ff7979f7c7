/** The kernel says what a colour map is for, the pictures which table that is. */

export function tableName(kept: string): string {
  return kept === "diverging" ? "rdbu" : kept;
}

export function keptName(table: string): string {
  return table === "rdbu" ? "diverging" : table;
}
