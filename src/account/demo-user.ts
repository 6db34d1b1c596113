/** Shown on the login page. An application with users of its own keeps a hash of each password. */
export const DEMO_USER = { id: 'ada', password: 'password' };

/** What the login form sends; anybody can send anything. */
export interface Credentials {
  name?: string;
  password?: string;
  remember?: string;
}

export function areRight({ name, password }: Credentials): boolean {
  return name === DEMO_USER.id && password === DEMO_USER.password;
}
