// An app in Express that signs people in by passport-openidconnect. ISSUER, CLIENT_SECRET and PORT come from the environment.
import express from 'express';
import session from 'express-session';
import passport from 'passport';
import Strategy from 'passport-openidconnect';

const { ISSUER: issuer, CLIENT_SECRET: clientSecret, PORT: port } = process.env;
const app = express();
app.use(session({ secret: 'of the tests', resave: false, saveUninitialized: false }));
app.use(passport.initialize());
app.use(passport.session());
passport.serializeUser((user, done) => done(null, user));
passport.deserializeUser((user, done) => done(null, user));
passport.use(new Strategy({
  issuer,
  authorizationURL: `${issuer}/oauth2/authorize`,
  tokenURL: `${issuer}/oauth2/token`,
  userInfoURL: `${issuer}/oauth2/userinfo`,
  clientID: 'app',
  clientSecret,
  callbackURL: `http://localhost:${port}/callback`,
  scope: ['profile', 'email'],
  // Without these two, it asks for no nonce and reads no userinfo.
  nonce: true,
  skipUserProfile: false,
}, (issuedBy, profile, done) => done(null, { issuer: issuedBy, ...profile })));

app.get('/', (request, response) => (request.user ? response.json(request.user) : response.redirect('/login')));
app.get('/login', passport.authenticate('openidconnect'));
app.get('/callback', passport.authenticate('openidconnect', { failureMessage: true, failureRedirect: '/failed' }),
  (request, response) => response.redirect('/'));
app.get('/failed', (request, response) => response.status(403).json(request.session.messages));
app.listen(Number(port), 'localhost');
